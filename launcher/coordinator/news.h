// What people watch while jobs run: the newest progress, who sits where, and the last lines of each
// job's story.
//
// Never journaled and bounded: 256 lines a job, and of the jobs the 256 that were last heard of.
// Pure; owned by the front.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <vector>

#include "launcher/coordinator/audience.h"

namespace muster {

class News {
 public:
  // Numbers and keeps a line; returns it.
  Story Add(JobId job, std::uint64_t life, Story story);
  // What is kept of it: bounded, and with rank 0's phases, which its own node alone tells.
  const JobProgress& Progressed(JobProgress progress);
  // Kept until a newer attempt is seated.
  void Seated(const NodeName& node, const JobdStatus& status);

  std::optional<JobProgress> progress(JobId job) const;
  std::map<NodeName, Seating> seating(JobId job) const;
  // The lines that are newer than `after` of `life`; all, if `life` is not `now`.
  std::vector<Story> Since(JobId job, std::uint64_t now, std::uint64_t life,
                           std::uint64_t after) const;

  void Subscribe(JobId job, ListenerId id, std::shared_ptr<Watcher> watcher);
  void Unsubscribe(JobId job, ListenerId id);
  std::vector<std::shared_ptr<Watcher>> WatchersOf(JobId job) const;
  std::vector<JobId> Watched() const;
  // No watcher of it any more.
  void Ended(JobId job);
  void EndAll(const Status& status);

 private:
  struct Paper {
    std::deque<Story> stories;
    std::optional<JobProgress> progress;
    AttemptNumber seated = 0;  // The attempt of `seating`.
    std::map<NodeName, Seating> seating;
    std::uint64_t touched = 0;
  };
  Paper& Open(JobId job);

  std::map<JobId, Paper> papers_;
  std::map<JobId, std::map<ListenerId, std::shared_ptr<Watcher>>> watchers_;
  std::uint64_t next_number_ = 1;
  std::uint64_t touches_ = 0;
};

}  // namespace muster
