#include "launcher/coordinator/holds.h"

#include <algorithm>

namespace muster {

void Holds::Expect(JobId job, TimePoint now) {
  jobs_.try_emplace(job, Held{.alone_since = now});
}

void Holds::Hold(JobId job, ListenerId id, std::shared_ptr<Holder> holder) {
  holder->Held();
  jobs_[job].holders[id] = std::move(holder);
}

void Holds::Release(JobId job, ListenerId id, TimePoint now) {
  const auto it = jobs_.find(job);
  if (it == jobs_.end()) return;
  if (it->second.holders.erase(id) > 0 && it->second.holders.empty()) {
    it->second.alone_since = now;
  }
}

void Holds::Ended(JobId job) {
  const auto it = jobs_.find(job);
  if (it == jobs_.end()) return;
  for (const auto& [id, holder] : it->second.holders) holder->End({});
  jobs_.erase(it);
}

void Holds::EndAll(const Status& status) {
  for (const auto& [job, held] : jobs_) {
    for (const auto& [id, holder] : held.holders) holder->End(status);
  }
  jobs_.clear();
}

std::vector<JobId> Holds::TakeAbandoned(TimePoint now) {
  std::vector<JobId> abandoned;
  for (auto& [job, held] : jobs_) {
    if (!held.holders.empty() || held.abandoned || now - held.alone_since < patience_) continue;
    held.abandoned = true;
    abandoned.push_back(job);
  }
  return abandoned;
}

TimePoint Holds::NextDeadline() const {
  TimePoint next = TimePoint::max();
  for (const auto& [job, held] : jobs_) {
    if (held.holders.empty() && !held.abandoned)
      next = std::min(next, held.alone_since + patience_);
  }
  return next;
}

}  // namespace muster
