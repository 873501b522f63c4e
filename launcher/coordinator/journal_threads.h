// The journal that a coordinator uses: the database (journal_sqlite.h), owned by a thread of its
// own, "journal", which commits all that is queued in one transaction.
//
// A disk that falls behind by kQueueMax decisions is a failure like any other: the loop neither
// waits nor forgets.
#pragma once

#include <condition_variable>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "launcher/coordinator/journal.h"
#include "launcher/coordinator/journal_sqlite.h"
#include "runtime/base/clock.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/mutex.h"

namespace muster {

class JournalThread : public Journal {
 public:
  static constexpr std::size_t kQueueMax = 65536;

  // `path`: ClusterPaths::Journal().  `clock` dates the rows and outlives this.
  JournalThread(std::string path, Clock& clock);
  ~JournalThread() override;
  JournalThread(const JournalThread&) = delete;
  JournalThread& operator=(const JournalThread&) = delete;

  // Takes the lock: kUnavailable, with the other's pid, while another coordinator has this journal.
  Result<LoadedState> Load() override;
  void Start(Listener listener) override;
  std::uint64_t Append(std::vector<Fact> facts) override;
  void Snapshot(State state) override;
  Status Stop() override;

 private:
  using Batch = std::vector<Fact>;
  using Item = std::variant<Batch, State>;
  enum class Ending { kNo, kAfterQueue, kAtOnce };

  Result<LoadedState> OpenAndLoad();
  void End(Ending ending);
  void Push(Item item);
  bool Take(std::vector<Item>* items);
  void Loop();
  Status Write(std::vector<Item> items);
  Status Commit(std::vector<Batch>* batches);
  void Tell();

  // Constant after construction.
  const std::string path_;
  Clock& clock_;

  // The loop's thread.
  std::uint64_t appended_ = 0;
  std::thread thread_;

  // Whoever runs: the caller of Load() until Start(), then the thread.
  UniqueFd lock_;
  std::unique_ptr<JournalDatabase> database_;
  Listener listener_;
  JournalProgress progress_;

  Mutex mutex_;
  std::condition_variable_any wake_;
  std::vector<Item> queue_ GUARDED_BY(mutex_);
  bool overrun_ GUARDED_BY(mutex_) = false;
  Ending ending_ GUARDED_BY(mutex_) = Ending::kNo;
};

}  // namespace muster
