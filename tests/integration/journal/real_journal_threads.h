// A journal on a real disk, and what the test appended to it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "launcher/coordinator/journal_threads.h"
#include "runtime/base/mutex.h"
#include "tests/integration/journal/sample_facts.h"

namespace muster::testing {

// Where a listener leaves what it was told, and the test waits for it.  At most a minute.
class Told {
 public:
  Journal::Listener Listener();
  JournalProgress WaitFor(std::uint64_t durable);  // Or for a failure.
  int calls();

 private:
  Mutex mutex_;
  std::condition_variable_any changed_;
  JournalProgress progress_ GUARDED_BY(mutex_);
  int calls_ GUARDED_BY(mutex_) = 0;
};

// Goes through one life of a coordinator that only journals.
class Life {
 public:
  explicit Life(const std::string& path, std::uint64_t seed = 1);

  Status Begin();          // Load() and Start().
  std::uint64_t Decide();  // Appends the facts of one decision.
  JournalProgress DecideAndWait(int decisions);
  void Snapshot() { journal_->Snapshot(state_); }
  Status Stop() { return journal_->Stop(); }

  const State& state() const { return state_; }
  Told& told() { return told_; }
  std::uint64_t facts_since_snapshot() const { return facts_since_snapshot_; }

 private:
  Told told_;
  std::unique_ptr<JournalThread> journal_;
  SampleFacts source_;
  State state_;
  std::uint64_t facts_since_snapshot_ = 0;
};

// What a journal holds; it is closed again.
Result<State> Reopen(const std::string& path);

// The output of `sqlite3 PATH SQL`, the shell that people use.
std::string Shell(const std::string& path, const std::string& sql);

}  // namespace muster::testing
