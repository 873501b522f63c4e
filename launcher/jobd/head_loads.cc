#include "launcher/jobd/head_loads.h"

#include <algorithm>
#include <utility>

#include "launcher/jobd/save_texts.h"
#include "runtime/base/text.h"

namespace muster {

void HeadLoads::Begin(std::vector<Host> hosts) {
  *this = {};
  hosts_ = std::move(hosts);
}

void HeadLoads::Came(std::uint32_t host, std::uint64_t number, TimePoint deadline) {
  deadline_ = came_.empty() ? deadline : std::min(deadline_, deadline);
  came_[host] = number;
}

std::optional<HeadLoads::Round> HeadLoads::End(TimePoint now) {
  if (came_.empty()) return std::nullopt;
  std::vector<std::string> missing;
  bool gone = false;
  for (std::uint32_t host = 0; host < hosts_.size(); ++host) {
    if (came_.contains(host)) continue;
    missing.push_back(RanksText(hosts_[host]));
    gone = gone || gone_.contains(host);
  }
  if (!missing.empty() && !gone && deadline_ > now) return std::nullopt;
  Round round{.hosts = std::exchange(came_, {})};
  if (!missing.empty()) {
    round.error = Join(missing, ", ") + " did not load " + (gone ? "and ended" : "in time") +
                  "; all ranks load alike";
  }
  return round;
}

}  // namespace muster
