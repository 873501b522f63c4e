#include "launcher/coordinator/news.h"

#include <algorithm>

namespace muster {
namespace {

constexpr std::size_t kLines = 256;
constexpr std::size_t kJobs = 256;
constexpr std::size_t kPhases = 16, kPhaseName = 32;  // Of a progress; its bytes.

}  // namespace

News::Paper& News::Open(JobId job) {
  if (!papers_.contains(job) && papers_.size() >= kJobs) {
    papers_.erase(std::min_element(
        papers_.begin(), papers_.end(),
        [](const auto& a, const auto& b) { return a.second.touched < b.second.touched; }));
  }
  Paper& paper = papers_[job];
  paper.touched = ++touches_;
  return paper;
}

Story News::Add(JobId job, std::uint64_t life, Story story) {
  story.life = life;
  story.number = next_number_++;
  std::deque<Story>& stories = Open(job).stories;
  stories.push_back(story);
  if (stories.size() > kLines) stories.pop_front();
  return story;
}

const JobProgress& News::Progressed(JobProgress progress) {
  if (progress.phases.size() > kPhases) progress.phases.resize(kPhases);
  for (PhaseTime& time : progress.phases) time.name.resize(std::min(time.name.size(), kPhaseName));
  progress.phase.resize(std::min(progress.phase.size(), kPhaseName));
  std::optional<JobProgress>& known = Open(progress.job).progress;
  if (known && progress.phase.empty() && known->attempt == progress.attempt) {
    progress.phase = std::move(known->phase);
    progress.phases = std::move(known->phases);
  }
  return known.emplace(std::move(progress));
}

std::optional<JobProgress> News::progress(JobId job) const {
  const auto it = papers_.find(job);
  return it == papers_.end() ? std::nullopt : it->second.progress;
}

void News::Seated(const NodeName& node, const JobdStatus& status) {
  if (status.seating.seats.empty()) return;
  Paper& paper = Open(status.job);
  if (status.attempt < paper.seated) return;
  if (status.attempt > paper.seated) paper.seating.clear();
  paper.seated = status.attempt;
  paper.seating[node] = status.seating;
}

std::map<NodeName, Seating> News::seating(JobId job) const {
  const auto it = papers_.find(job);
  return it == papers_.end() ? std::map<NodeName, Seating>() : it->second.seating;
}

std::vector<Story> News::Since(JobId job, std::uint64_t now, std::uint64_t life,
                               std::uint64_t after) const {
  const auto it = papers_.find(job);
  if (it == papers_.end()) return {};
  std::vector<Story> since;
  for (const Story& story : it->second.stories) {
    if (life != now || story.number > after) since.push_back(story);
  }
  return since;
}

void News::Subscribe(JobId job, ListenerId id, std::shared_ptr<Watcher> watcher) {
  watchers_[job][id] = std::move(watcher);
}

void News::Unsubscribe(JobId job, ListenerId id) {
  const auto it = watchers_.find(job);
  if (it == watchers_.end()) return;
  it->second.erase(id);
  if (it->second.empty()) watchers_.erase(it);
}

std::vector<std::shared_ptr<Watcher>> News::WatchersOf(JobId job) const {
  std::vector<std::shared_ptr<Watcher>> all;
  const auto it = watchers_.find(job);
  if (it == watchers_.end()) return all;
  for (const auto& [id, watcher] : it->second) all.push_back(watcher);
  return all;
}

std::vector<JobId> News::Watched() const {
  std::vector<JobId> jobs;
  for (const auto& [job, watchers] : watchers_) jobs.push_back(job);
  return jobs;
}

void News::Ended(JobId job) {
  watchers_.erase(job);
}

void News::EndAll(const Status& status) {
  for (const auto& [job, watchers] : watchers_) {
    for (const auto& [id, watcher] : watchers) watcher->End(status);
  }
  watchers_.clear();
}

}  // namespace muster
