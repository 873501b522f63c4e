#include "launcher/cli/mount_advice.h"

#include <algorithm>

#include "runtime/base/text.h"

namespace muster {
namespace {

// \040 and the like, as the kernel writes blanks.
std::string Unescaped(const std::string& text) {
  std::string plain;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool octal = text[i] == '\\' && i + 3 < text.size() &&
                       std::all_of(text.begin() + static_cast<std::ptrdiff_t>(i) + 1,
                                   text.begin() + static_cast<std::ptrdiff_t>(i) + 4,
                                   [](char c) { return c >= '0' && c <= '7'; });
    if (!octal) {
      plain += text[i];
      continue;
    }
    plain +=
        static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
    i += 3;
  }
  return plain;
}

bool Covers(const std::string& point, const std::string& path) {
  return point == "/" || path == point || path.starts_with(point + "/");
}

void TakeOptions(const std::string& text, std::map<std::string, std::string>& options) {
  for (const std::string& option : Split(text, ',')) {
    const std::size_t equals = option.find('=');
    options[option.substr(0, equals)] =
        equals == std::string::npos ? "" : option.substr(equals + 1);
  }
}

// One rule after the other, each with a sentence for what it finds.
class Judge {
 public:
  explicit Judge(const Mount& mount) : mount_(mount) {}

  std::vector<Finding> Nfs(std::size_t addresses) {
    Writable();
    Hard();
    Version();
    Transport();
    Connections();
    Transfers("rsize");
    Transfers("wsize");
    Timeout();
    Caching();
    Address(addresses);
    return std::move(findings_);
  }

  std::vector<Finding> Other() {
    Writable();
    const bool memory = mount_.type == "tmpfs" || mount_.type == "ramfs";
    Say(memory ? Weight::kWrong : Weight::kAdvice, "file system", mount_.type,
        memory ? "it is memory: a reboot loses every checkpoint; use a share"
               : "it is no NFS mount: fine for one node, or if every node sees this same folder");
    return std::move(findings_);
  }

 private:
  bool Has(const std::string& option) const { return mount_.options.contains(option); }
  std::string Value(const std::string& option, const std::string& otherwise) const {
    const auto at = mount_.options.find(option);
    return at == mount_.options.end() ? otherwise : at->second;
  }
  std::uint64_t Number(const std::string& option, std::uint64_t otherwise) const {
    return ParseUnsigned(Value(option, "")).value_or(otherwise);
  }
  bool IsRdma() const { return Value("proto", "tcp").starts_with("rdma"); }

  void Say(Weight weight, const std::string& what, const std::string& found,
           const std::string& change = "") {
    findings_.push_back({.weight = weight, .what = what, .found = found, .change = change});
  }

  void Writable() {
    if (Has("ro")) Say(Weight::kWrong, "access", "ro", "mount it rw: nothing can be saved there");
  }

  void Hard() {
    for (const char* option : {"soft", "softerr"}) {
      if (Has(option)) {
        return Say(Weight::kWrong, "hard", option,
                   "mount with hard: after a time-out a soft mount drops what it had taken, and "
                   "files are silently damaged");
      }
    }
    Say(Weight::kGood, "hard", "hard");
  }

  void Version() {
    const std::string version = Value("vers", mount_.type == "nfs4" ? "4" : "3");
    if (version == "4.1" || version == "4.2" || version == "3") {
      return Say(Weight::kGood, "vers", version);
    }
    Say(Weight::kAdvice, "vers", version,
        "vers=4.1: its sessions answer a repeated call once, and it needs one port only");
  }

  void Transport() {
    const std::string proto = Value("proto", "tcp");
    if (proto.starts_with("udp")) {
      return Say(Weight::kWrong, "proto", proto,
                 "proto=tcp: over UDP, large writes are damaged when a fragment is lost");
    }
    Say(Weight::kGood, "proto", proto);
  }

  void Connections() {
    constexpr std::uint64_t kAsked = 8;
    const std::uint64_t count = Number("nconnect", 1);
    if (count >= kAsked || IsRdma()) {
      return Say(Weight::kGood, "nconnect", std::to_string(count));
    }
    Say(Weight::kAdvice, "nconnect", std::to_string(count),
        "nconnect=8 (16 from 200 Gbit/s on): one TCP connection carries about 2 GB/s; the first "
        "mount of a server decides for all, so unmount them all first");
  }

  void Transfers(const std::string& option) {
    const std::uint64_t wanted = IsRdma() ? 65536 : 1048576;
    const std::uint64_t size = Number(option, 0);
    if (size >= wanted) return Say(Weight::kGood, option, std::to_string(size));
    Say(Weight::kAdvice, option, size == 0 ? "unknown" : std::to_string(size),
        option + "=" + std::to_string(wanted) +
            ", and the server must offer as much: each call carries more");
  }

  void Timeout() {
    constexpr std::uint64_t kAsked = 600;
    const std::uint64_t tenths = Number("timeo", kAsked);
    if (tenths >= kAsked) return Say(Weight::kGood, "timeo", std::to_string(tenths));
    Say(Weight::kAdvice, "timeo", std::to_string(tenths),
        "timeo=600 (60 s, the default over TCP): shorter, a busy server gets every call twice");
  }

  void Caching() {
    const bool noac = Has("noac") || Value("acregmin", "") == "0" || Value("acdirmin", "") == "0";
    if (noac) {
      Say(Weight::kAdvice, "attribute cache", Has("noac") ? "noac" : "acregmin=0 or acdirmin=0",
          "leave it out: muster never asks a cache whether a checkpoint exists, and every look "
          "costs a round trip");
    }
    if (Has("sync")) {
      Say(Weight::kAdvice, "sync", "sync",
          "leave it out: muster syncs what must be durable itself");
    }
    if (Value("lookupcache", "") == "none") {
      Say(Weight::kAdvice, "lookupcache", "none", "lookupcache=positive is as safe and cheaper");
    }
    if (!noac && !Has("sync")) Say(Weight::kGood, "attribute cache", "default");
  }

  void Address(std::size_t addresses) {
    const std::string address = Value("addr", "unknown");
    if (address.starts_with("127.") || address == "::1") {
      const std::string port = Value("port", "2049");
      return Say(
          Weight::kGood, "server address",
          address + ", port " + port + " (a tunnel, such as stunnel's, or this host)",
          port == "2049" ? "if a tunnel is meant, port= must be the one where it listens" : "");
    }
    if (addresses > 1) {
      return Say(Weight::kAdvice, "server address", address,
                 "the server's name has " + std::to_string(addresses) +
                     " addresses: let each node mount one of them, evenly, so that all of the "
                     "server works");
    }
    Say(Weight::kGood, "server address", address);
  }

  const Mount& mount_;
  std::vector<Finding> findings_;
};

}  // namespace

std::optional<Mount> FindMount(const std::string& mountinfo, const std::string& path) {
  std::optional<Mount> found;
  for (const std::string& line : Split(mountinfo, '\n')) {
    // 36 35 0:41 / /mnt rw,noatime shared:1 - nfs4 filer:/export rw,vers=4.1,...
    const std::vector<std::string> words = Split(line, ' ');
    const auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 6 || words.end() - dash < 4) continue;
    const std::string point = Unescaped(words[4]);
    if (!Covers(point, path)) continue;
    if (found.has_value() && point.size() < found->point.size()) continue;
    Mount mount{.point = point, .type = dash[1], .source = Unescaped(dash[2])};
    TakeOptions(words[5], mount.options);
    TakeOptions(dash[3], mount.options);
    // Each mount of a writable file system may be read-only for itself.
    if (words[5].starts_with("ro")) mount.options.erase("rw");
    found = std::move(mount);
  }
  return found;
}

std::vector<Finding> JudgeMount(const Mount& mount, std::size_t addresses) {
  Judge judge(mount);
  return mount.type == "nfs" || mount.type == "nfs4" ? judge.Nfs(addresses) : judge.Other();
}

const char* NameOf(Weight weight) {
  switch (weight) {
    case Weight::kGood:
      return "ok";
    case Weight::kAdvice:
      return "advice";
    case Weight::kWrong:
      return "wrong";
  }
  return "?";
}

}  // namespace muster
