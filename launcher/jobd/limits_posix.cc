#include "launcher/jobd/limits_posix.h"

#include <sys/resource.h>

#include "runtime/base/resources.h"

namespace muster {
namespace {

std::string Name(std::int32_t resource) {
  for (const auto& [name, number] : kResources) {
    if (number == resource) return name;
  }
  return "number " + std::to_string(resource);
}

std::string Amount(std::uint64_t amount) {
  return amount == RLIM_INFINITY ? "unlimited" : std::to_string(amount);
}

// Also root may not have any number of files.
bool MayRaise(__rlimit_resource_t resource, const rlimit& now, rlim_t hard) {
  const rlimit raised{.rlim_cur = now.rlim_cur, .rlim_max = hard};
  return setrlimit(resource, &raised) == 0 && setrlimit(resource, &now) == 0;
}

}  // namespace

std::vector<std::string> LimitsCut(const std::vector<ResourceLimit>& wanted, const NodeName& node) {
  std::vector<std::string> cut;
  for (const ResourceLimit& limit : wanted) {
    const auto resource = static_cast<__rlimit_resource_t>(limit.resource);
    rlimit now{};
    if (getrlimit(resource, &now) != 0 || limit.soft <= now.rlim_max) continue;
    if (MayRaise(resource, now, limit.hard)) continue;
    cut.push_back("the limit " + Name(limit.resource) + " is " + Amount(now.rlim_max) +
                  " on node " + node + ", not " + Amount(limit.soft) +
                  " as asked: no more is allowed to its job daemon (ulimit -H, limits.conf, or "
                  "LimitNOFILE and its like of the agent's unit)");
  }
  return cut;
}

}  // namespace muster
