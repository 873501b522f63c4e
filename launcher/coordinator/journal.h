// What the loop asks of the journal: keep facts in order, say when they are safe, read them back.
//
// The loop never waits for a disk: Append() and Snapshot() only queue, the journal's own thread
// commits all that is queued in one go (group commit) and then tells the listener.  Effects and
// answers of a decision leave when the sequence number of its facts is durable.
//
// Load() before Start(); then Append() and Snapshot() from the loop's thread only; the listener
// runs on the journal's thread and must not block.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "launcher/coordinator/facts.h"
#include "runtime/base/result.h"

namespace muster {

// What is on the disk.
struct LoadedState {
  State state;                             // The newest whole snapshot, and the tail applied.
  std::uint64_t facts_since_snapshot = 0;  // Length of that tail.
};

// How far the disk has come.  After a failure nothing more becomes durable in this life: the loop
// stops acknowledging and the process ends with `failure` (the keeper starts it anew).
struct JournalProgress {
  std::uint64_t durable = 0;  // Every batch up to this sequence number survives a crash.
  Status failure;
};

class Journal {
 public:
  using Listener = std::function<void(const JournalProgress&)>;

  virtual ~Journal() = default;

  // kNotFound never: no journal yet is an empty State.  kInvalid: written by a newer version, or
  // not ours; kDataLoss: it cannot be read back.
  virtual Result<LoadedState> Load() = 0;

  virtual void Start(Listener listener) = 0;

  // Takes the facts of one decision, all or none of which survive.  Returns their sequence number:
  // 1 for the first batch of this life, then one more each.
  virtual std::uint64_t Append(std::vector<Fact> facts) = 0;

  // The state after every batch appended so far; older facts may go once it is safe.
  virtual void Snapshot(State state) = 0;

  // Commits whatever is queued and ends the thread; the listener is not called afterwards.  May be
  // called twice.  Destroying a journal without Stop() drops what is queued, as a crash would.
  virtual Status Stop() = 0;
};

}  // namespace muster
