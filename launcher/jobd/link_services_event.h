// What the ranks get over their links: keys and values, memory, the word to stop; and what becomes
// of the progress they report.
//
// Checkpoints go through the mover, elsewhere: `staged` and `load` hand them on.  The loop's thread
// only; callbacks come from the loop.
#pragma once

#include <event2/event.h>

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launcher/jobd/key_table.h"
#include "launcher/jobd/links_event.h"
#include "launcher/jobd/memory_posix.h"
#include "launcher/jobd/phase_times.h"
#include "launcher/jobd/progress_file_posix.h"
#include "runtime/base/clock.h"
#include "runtime/base/statuses.h"

namespace muster {

class LinkServices {
 public:
  struct Callbacks {
    std::function<void(const std::string& key, const std::string& value)> spread;  // To all nodes.
    std::function<void(const JobProgress&)> progress;
    std::function<void(Mark)> mark;
    std::function<void(std::uint32_t local_rank, const link::Staged&)> staged;
    std::function<void(std::uint32_t local_rank)> load, open_checkpoint;
    std::function<void(std::uint32_t local_rank, const link::ReadBlocks&)> read_blocks;
    // SaveBegin, SaveCopied, LoadParts.
    std::function<void(std::uint32_t local_rank, const link::ToJobd&)> meet;
    // Whether a save still reads it.
    std::function<bool(std::uint32_t local_rank, const std::string& memory)> reads;
  };

  LinkServices(event_base* base, Callbacks callbacks);
  ~LinkServices();
  LinkServices(const LinkServices&) = delete;
  LinkServices& operator=(const LinkServices&) = delete;

  // A new attempt: links, keys and waiting questions of the last one are gone; the memory stays.
  // `job_logs`: ClusterPaths::JobLogs().
  void Begin(const StartAttempt& order, const std::string& job_logs);
  void End();

  Result<UniqueFd> Open(std::uint32_t local_rank, const std::string& token) {
    return links_.Open(local_rank, token);
  }

  // Before the end of a rank is told.
  void HearLast(std::uint32_t local_rank) { links_.HearLast(local_rank); }

  // A key was set on some node.  All nodes learn them in one order, and refuse the same.
  void Learn(const std::string& key, const std::string& value);

  // Says Stop on the link; true for those who look for it.
  bool AskToStop(std::uint32_t local_rank, std::uint32_t grace_ms);

  void Say(std::uint32_t local_rank, const link::ToRank& message,
           const std::shared_ptr<UniqueFd>& descriptor = nullptr) {
    links_.Send(local_rank, message, descriptor);
  }

  void SetCommitted(std::uint64_t step);
  // A line of the job's story, from here.
  void Note(const std::string& note);

  JobMemory& memory() { return memory_; }

 private:
  struct Question {
    std::uint32_t local_rank = 0;
    std::string key;
    TimePoint deadline;
  };

  static void OnReport(evutil_socket_t, short, void* self);
  static void OnDeadline(evutil_socket_t, short, void* self);
  void Hear(std::uint32_t local_rank, const link::ToJobd& message);
  void On(std::uint32_t local_rank, const link::Hello& message);
  void On(std::uint32_t local_rank, const link::Progress& message);
  void On(std::uint32_t local_rank, const link::KvSet& message);
  void On(std::uint32_t local_rank, const link::KvGet& message);
  void On(std::uint32_t local_rank, const link::MemoryGet& message);
  void On(std::uint32_t local_rank, const link::Staged& message);
  void On(std::uint32_t local_rank, const link::Load& message);
  void On(std::uint32_t local_rank, const link::OpenCheckpoint& message);
  void On(std::uint32_t local_rank, const link::ReadBlocks& message);
  void On(std::uint32_t local_rank, const link::Bye& message);
  void On(std::uint32_t local_rank, const link::SaveBegin& message);
  void On(std::uint32_t local_rank, const link::SaveCopied& message);
  void On(std::uint32_t local_rank, const link::LoadParts& message);
  void MarkProgress(std::uint32_t local_rank, const link::Progress& message);
  void RefuseKey(const std::string& key);
  void ReportSoon();
  void Report();
  void ArmDeadline();

  const Callbacks callbacks_;
  Links links_;
  JobMemory memory_;
  KeyTable keys_;
  bool refused_key_ = false;
  std::list<Question> questions_;
  JobProgress latest_;
  PhaseTimes phases_;  // Of rank 0.
  ProgressFile curve_;
  bool is_head_ = false;
  std::size_t ranks_ = 0;
  std::set<std::uint32_t> training_;  // Local ranks that said so.
  std::uint64_t best_step_ = 0, best_before_ = 0;
  bool stepped_ = false;
  event* const report_;
  event* const deadline_;
};

}  // namespace muster
