#include "launcher/cli/option_checks.h"

#include "launcher/cli/duration.h"
#include "runtime/base/port_range.h"
#include "runtime/base/signals.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/keep_rules.h"
#include "runtime/checkpoint/nfs_url.h"

namespace muster {

std::string CheckStore(const std::string& store) {
  if (checkpoint::IsNfsUrl(store)) {
    const auto url = checkpoint::ParseNfsUrl(store);
    return url.ok() ? "" : "is no address of a share: " + url.status().message();
  }
  if (!store.empty() && store[0] == '/') return "";
  return "must begin with / or nfs://, found '" + store + "'";
}

std::string CheckLocalStore(const std::string& folder) {
  if (!folder.empty() && folder[0] == '/') return "";
  return "must be a folder's absolute path on every node, found '" + folder + "'";
}

std::string CheckRunId(const std::string& run) {
  if (IsRunId(run)) return "";
  return "must be a run id, 32 hexadecimal digits as `muster show` and `muster ckpt ls` have them, "
         "found '" +
         run + "'";
}

std::string SetKeep(const std::string& rules, CheckpointPolicy& policy) {
  const auto parsed = checkpoint::ParseKeepRules(rules, {.last = policy.keep});
  if (!parsed.ok()) return parsed.status().message();
  policy.keep = parsed->last;
  policy.keep_also = FormatKeepAlso(*parsed);
  return "";
}
std::string CheckKeep(const std::string& rules) {
  CheckpointPolicy policy;
  return SetKeep(rules, policy);
}

std::string CheckMetadata(const std::string& entry) {
  constexpr std::size_t kMost = 1000;
  const std::size_t equals = entry.find('=');
  if (equals == std::string::npos || equals == 0) {
    return "must be NAME=VALUE, such as dataset=v3, found '" + entry + "'";
  }
  if (entry.size() > kMost) {
    return "takes entries of at most 1000 bytes; '" + entry.substr(0, std::min(equals, kMost)) +
           "' has " + std::to_string(entry.size());
  }
  return entry.substr(0, equals) == "job" ? "cannot have 'job': there muster says which job it was"
                                          : "";
}

std::string CheckPorts(const std::string& text) {
  const auto range = ParsePortRange(text);
  return range.ok() ? "" : range.status().message();
}
std::string CheckSignal(const std::string& text) {
  return ParseSignal(text) != 0
             ? ""
             : "'" + text + "' is no signal; give a number 1..64 or a name such as TERM or USR1";
}

std::string CheckDuration(const std::string& text) {
  const auto length = ParseDuration(text);
  if (!length.ok()) return length.status().message();
  return length->count() > 4'000'000'000 ? "is at most 46d" : "";
}

}  // namespace muster
