#include <netdb.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "launcher/cli/cli_posix.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/mount_advice.h"
#include "launcher/cli/terminal_posix.h"
#include "launcher/cli/visibility_posix.h"
#include "runtime/base/clock.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/store_nfs.h"
#include "runtime/checkpoint/store_posix.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::size_t kSmall = 4096;  // A commit record is smaller.
constexpr int kRounds = 15;
constexpr std::size_t kSlice = 8U << 20U;
constexpr char kFolder[] = "muster-doctor-";
constexpr std::chrono::seconds kPeerPatience{60};

struct Measured {
  std::string what, unit;
  double value = 0;
};

struct Examination {
  std::string store;
  std::vector<Finding> findings;
  std::vector<Measured> measured;

  bool wrong() const {
    return std::any_of(findings.begin(), findings.end(),
                       [](const Finding& f) { return f.weight == Weight::kWrong; });
  }
};

double SecondsOf(const std::function<void()>& act) {
  const TimePoint begin = RealClock().Now();
  act();
  return std::chrono::duration<double>(RealClock().Now() - begin).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// "filer" in "filer:/export" and in "[fd00::1]:/export".
std::size_t AddressesOf(const std::string& source) {
  const std::size_t colon = source.find(":/");
  if (colon == std::string::npos) return 0;
  std::string host = source.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  addrinfo hints{};
  hints.ai_family = AF_INET;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return 0;
  std::size_t count = 0;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) ++count;
  freeaddrinfo(found);
  return count;
}

Status LookAtMount(Examination& report) {
  char* real = realpath(report.store.c_str(), nullptr);
  const std::string path = real != nullptr ? real : report.store;
  free(real);
  const auto mountinfo = ReadFile("/proc/self/mountinfo");
  if (!mountinfo.ok()) return mountinfo.status();
  const auto mount = FindMount(*mountinfo, path);
  if (!mount.has_value()) return Status(Code::kNotFound, "no mount holds " + path);
  report.findings = JudgeMount(*mount, AddressesOf(mount->source));
  return {};
}

// Acts in a folder of its own, which is gone afterwards.
class Trial {
 public:
  Trial(checkpoint::Store& store, Examination& report, std::size_t bytes)
      : store_(store), report_(report), noise_(bytes) {
    std::uint64_t x = 1;
    for (std::byte& byte : noise_) {
      x = x * 6364136223846793005U + 1442695040888963407U;
      byte = static_cast<std::byte>(x >> 56U);
    }
  }

  Status Run(bool peer) {
    const auto nonce = checkpoint::FreshNonce();
    if (!nonce.ok()) return nonce.status();
    folder_ = kFolder + std::to_string(*nonce);
    RETURN_IF_ERROR(store_.MakeFolder(folder_));
    Status done = Large();
    if (done.ok()) done = Small();
    if (done.ok()) done = Publishing();
    Clean();
    if (done.ok() && peer) done = Visibility();
    return done;
  }

 private:
  std::string At(const std::string& name) const { return folder_ + "/" + name; }
  void Say(const std::string& what, double value, const std::string& unit) {
    report_.measured.push_back({.what = what, .unit = unit, .value = value});
  }

  Status Write(const std::string& name, std::span<const std::byte> bytes) {
    const auto file = store_.Create(At(name));
    if (!file.ok()) return file.status();
    names_.push_back(name);
    for (std::size_t at = 0; at < bytes.size(); at += kSlice) {
      RETURN_IF_ERROR((*file)->WriteAt(at, bytes.subspan(at, std::min(kSlice, bytes.size() - at))));
    }
    return (*file)->SyncAndClose();
  }

  Status Large() {
    Status wrote, read;
    const double mib = static_cast<double>(noise_.size()) / (1 << 20);
    const double write_seconds = SecondsOf([&] { wrote = Write("large", noise_); });
    if (!wrote.ok()) return std::move(wrote).While("writing");
    Say("write and sync", mib / write_seconds, "MiB/s");
    std::vector<std::byte> back(noise_.size());
    const double read_seconds = SecondsOf([&] {
      const auto n = store_.Read(At("large"), 0, back);
      read = n.ok() ? Status() : n.status();
    });
    if (!read.ok()) return std::move(read).While("reading");
    Say("read back (perhaps from a cache)", mib / read_seconds, "MiB/s");
    Judge("read back", back == noise_ ? "what was written" : "something else",
          back == noise_ ? "" : "do not use this store");
    return {};
  }

  // What each small file of a commit costs.
  Status Small() {
    std::vector<double> synced, linked, listed;
    Status status;
    for (int i = 0; i < kRounds && status.ok(); ++i) {
      const std::string name = "small" + std::to_string(i);
      synced.push_back(SecondsOf([&] { status = Write(name, std::span(noise_).first(kSmall)); }));
      if (!status.ok()) break;
      names_.push_back(name + "-link");
      linked.push_back(SecondsOf([&] { status = store_.Link(At(name), At(name + "-link")); }));
      listed.push_back(SecondsOf([&] { Seen(name + "-link"); }));
    }
    if (!status.ok()) return std::move(status).While("small files");
    Say("create, write 4 KiB, sync, close", Median(synced) * 1e3, "ms");
    Say("link", Median(linked) * 1e3, "ms");
    Say("list after it", Median(listed) * 1e3, "ms");
    return {};
  }

  bool Seen(const std::string& name) {
    const auto names = store_.List(folder_);
    return names.ok() && std::find(names->begin(), names->end(), name) != names->end();
  }

  Status Publishing() {
    const Status again = store_.Link(At("small1"), At("small0-link"));
    const bool refused = again.code() == Code::kExists;
    Judge("link to a name that is taken", refused ? "refused" : "not refused: " + again.message(),
          refused ? "" : "do not use this store: two jobs could commit the same checkpoint");
    const bool seen = Seen("small0-link");
    Judge("a new name is listed at once", seen ? "yes" : "no",
          seen ? "" : "do not use this store: a newer attempt would not be noticed");
    return {};
  }

  Status Visibility() {
    const auto seconds = AskAnother(store_, folder_ + "-peer", kPeerPatience);
    if (!seconds.ok()) return seconds.status();
    Say("another node sees a new name after", *seconds * 1e3, "ms");
    return {};
  }

  void Judge(const std::string& what, const std::string& found, const std::string& change) {
    report_.findings.push_back({.weight = change.empty() ? Weight::kGood : Weight::kWrong,
                                .what = what,
                                .found = found,
                                .change = change});
  }

  void Clean() {
    for (const std::string& name : names_) static_cast<void>(UnlinkIfThere(store_, At(name)));
    static_cast<void>(store_.RemoveFolder(folder_));
  }

  checkpoint::Store& store_;
  Examination& report_;
  std::vector<std::byte> noise_;
  std::string folder_;
  std::vector<std::string> names_;
};

std::string TextOf(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 10 ? "%.2f" : "%.0f", value);
  return text;
}

std::string AsText(const Examination& report) {
  std::string text = report.store + "\n";
  for (const Finding& finding : report.findings) {
    text += std::string("  ") + NameOf(finding.weight) + "  " + finding.what + ": " + finding.found;
    text += (finding.change.empty() ? "" : "\n      -> " + finding.change) + "\n";
  }
  for (const Measured& one : report.measured) {
    text += "  " + one.what + ": " + TextOf(one.value) + " " + one.unit + "\n";
  }
  const auto advice = std::count_if(report.findings.begin(), report.findings.end(),
                                    [](const Finding& f) { return f.weight == Weight::kAdvice; });
  text += report.wrong() ? "  checkpoints are not safe there as it is\n"
          : advice > 0   ? "  usable; " + std::to_string(advice) +
                             " things could be better (configs/nfs.md has mount lines)\n"
                       : "  good\n";
  return text;
}

std::string AsJson(const Examination& report) {
  Json findings = Json::array(), measured = Json::array();
  for (const Finding& finding : report.findings) {
    findings.push_back({{"verdict", NameOf(finding.weight)},
                        {"what", finding.what},
                        {"found", finding.found},
                        {"change", finding.change}});
  }
  for (const Measured& one : report.measured) {
    measured.push_back({{"what", one.what}, {"value", one.value}, {"unit", one.unit}});
  }
  const Json json = {{"store", report.store},
                     {"safe", !report.wrong()},
                     {"findings", findings},
                     {"measured", measured}};
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace

int CarryOutDoctor(const DoctorCommand& command) {
  const bool json = command.common.json;
  auto store = checkpoint::OpenAnyStore(command.store);
  if (!store.ok()) return Fail(store.status(), json);
  if (command.answer) {
    Status answered = AnswerAnother(**store, kFolder, kPeerPatience);
    if (!answered.ok()) return Fail(answered, json);
    Print(json ? "{}\n" : "answered\n");
    return kExitOk;
  }
  Examination report{.store = command.store};
  Status done = checkpoint::IsNfsUrl(command.store) ? Status() : LookAtMount(report);
  if (done.ok()) done = Trial(**store, report, command.mib << 20U).Run(command.peer);
  if (!done.ok()) return Fail(std::move(done).While("store " + command.store), json);
  Print(json ? AsJson(report) : AsText(report));
  return report.wrong() ? kExitFailed : kExitOk;
}

}  // namespace muster
