#include "launcher/cli/visibility_posix.h"

#include <poll.h>

#include <algorithm>
#include <vector>

#include "runtime/base/clock.h"

namespace muster {
namespace {

constexpr int kRounds = 5;
constexpr int kLookMs = 2;  // Nothing tells when a name comes.

std::string Ask(int round) {
  return "ask-" + std::to_string(round);
}
std::string AnswerTo(const std::string& ask) {
  return "answer" + ask.substr(3);
}

bool Has(const std::vector<std::string>& names, const std::string& name) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

void Remove(checkpoint::Store& store, const std::string& folder) {
  const auto names = store.List(folder);
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    static_cast<void>(store.Unlink(folder + "/" + name));
  }
  static_cast<void>(store.RemoveFolder(folder));
}

Status WaitForName(checkpoint::Store& store, const std::string& folder, const std::string& name,
                   TimePoint deadline) {
  while (RealClock().Now() < deadline) {
    const auto names = store.List(folder);
    if (!names.ok()) return names.status();
    if (Has(*names, name)) return {};
    poll(nullptr, 0, kLookMs);
  }
  return Status(Code::kDeadline,
                "nobody answers; on another node, at the same time: muster doctor "
                "--answer --store ...");
}

// Whether the last question was among those that were answered.
Result<bool> AnswerIn(checkpoint::Store& store, const std::string& folder) {
  const auto names = store.List(folder);
  if (!names.ok()) {
    if (names.status().code() == Code::kNotFound) return false;  // Its asker has gone.
    return names.status();
  }
  for (const std::string& name : *names) {
    if (!name.starts_with("ask-") || Has(*names, AnswerTo(name))) continue;
    RETURN_IF_ERROR(WriteWhole(store, folder + "/" + AnswerTo(name), "here"));
    if (name == Ask(kRounds - 1)) return true;
  }
  return false;
}

}  // namespace

Result<double> AskAnother(checkpoint::Store& store, const std::string& folder,
                          std::chrono::seconds patience) {
  RETURN_IF_ERROR(store.MakeFolder(folder));
  const TimePoint deadline = RealClock().Now() + patience;
  std::vector<double> seconds;
  Status status;
  for (int round = 0; round < kRounds && status.ok(); ++round) {
    const TimePoint begin = RealClock().Now();
    status = WriteWhole(store, folder + "/" + Ask(round), "who?");
    if (status.ok()) status = WaitForName(store, folder, AnswerTo(Ask(round)), deadline);
    seconds.push_back(std::chrono::duration<double>(RealClock().Now() - begin).count() / 2);
  }
  Remove(store, folder);
  if (!status.ok()) return status;
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

Status AnswerAnother(checkpoint::Store& store, const std::string& prefix,
                     std::chrono::seconds patience) {
  const TimePoint deadline = RealClock().Now() + patience;
  while (RealClock().Now() < deadline) {
    const auto names = store.List("");
    if (!names.ok()) return names.status();
    for (const std::string& name : *names) {
      if (!name.starts_with(prefix)) continue;
      const auto done = AnswerIn(store, name);
      if (!done.ok()) return done.status();
      if (*done) return {};
    }
    poll(nullptr, 0, kLookMs);
  }
  return Status(Code::kDeadline, "nobody has asked");
}

}  // namespace muster
