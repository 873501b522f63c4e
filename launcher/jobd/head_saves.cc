#include "launcher/jobd/head_saves.h"

#include <algorithm>

#include "launcher/jobd/save_texts.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::size_t kGivenUpMax = 64;

}  // namespace

Duration HeadSaves::Wait(std::uint32_t timeout_ms, std::uint32_t deadline_ms) {
  constexpr std::uint32_t kWithoutDeadlineMs = 600'000;
  return std::chrono::milliseconds(
      std::max(timeout_ms, deadline_ms > 0 ? deadline_ms : kWithoutDeadlineMs));
}

void HeadSaves::Begin(std::vector<Host> hosts) {
  *this = {};
  hosts_ = std::move(hosts);
}

bool HeadSaves::Came(std::uint32_t host, std::uint64_t step, TimePoint deadline) {
  const auto [save, first] = saves_.try_emplace(step);
  if (first) save->second.deadline = deadline;
  save->second.came.insert(host);
  return first;
}

std::optional<HeadSaves::Ended> HeadSaves::End(std::uint32_t host,
                                               const checkpoint_words::ShardEnded& shard) {
  Save& save = saves_[shard.step];
  save.came.insert(host);
  save.ended[host] = shard;
  if (save.ended.size() < hosts_.size()) return std::nullopt;
  return std::move(saves_.extract(shard.step).mapped().ended);
}

std::string HeadSaves::WhyNot(const Save& save, TimePoint now) const {
  if (save.ended.size() < save.came.size()) return "";
  std::vector<std::string> missing;
  bool gone = false;
  for (std::uint32_t host = 0; host < hosts_.size(); ++host) {
    if (save.came.contains(host)) continue;
    missing.push_back(RanksText(hosts_[host]));
    gone = gone || gone_.contains(host);
  }
  if (missing.empty() || (!gone && save.deadline > now)) return "";
  return Join(missing, ", ") + " did not save it " + (gone ? "and ended" : "in time") + "; " +
         checkpoint_words::kAllSave;
}

std::vector<HeadSaves::GivenUp> HeadSaves::GiveUp(TimePoint now) {
  std::vector<GivenUp> all;
  for (auto at = saves_.begin(); at != saves_.end();) {
    const std::string error = WhyNot(at->second, now);
    if (error.empty()) {
      ++at;
      continue;
    }
    for (const auto& [host, shard] : at->second.ended) {
      given_up_[{at->first, shard.nonce}] = error;
    }
    while (given_up_.size() > kGivenUpMax) given_up_.erase(given_up_.begin());
    all.push_back({.step = at->first, .error = error});
    at = saves_.erase(at);
  }
  return all;
}

std::vector<HeadSaves::GivenUp> HeadSaves::GiveUpOlder(std::uint64_t committed) {
  std::vector<GivenUp> all;
  while (!saves_.empty() && saves_.begin()->first < committed) {
    const auto [step, save] = *saves_.begin();
    saves_.erase(saves_.begin());
    std::vector<std::string> missing;
    for (std::uint32_t host = 0; host < hosts_.size(); ++host) {
      if (!save.ended.contains(host)) missing.push_back(hosts_[host].node);
    }
    all.push_back({.step = step,
                   .error = Join(missing, ", ") + " had not saved it when step " +
                            std::to_string(committed) + " was committed"});
  }
  return all;
}

std::optional<std::string> HeadSaves::WhyGivenUp(std::uint32_t host,
                                                 const checkpoint_words::ShardEnded& shard) {
  const auto given_up = given_up_.find({shard.step, shard.nonce});
  if (given_up == given_up_.end()) return std::nullopt;
  const auto save = saves_.find(shard.step);
  if (save != saves_.end()) {
    save->second.came.erase(host);
    if (save->second.came.empty()) saves_.erase(save);
  }
  return given_up->second;
}

}  // namespace muster
