// Checkpoints of a job, seen from one of its daemons: what ranks stage goes to this node's mover,
// the head commits when every node's part is written, everyone is told how it went.
//
// The protocol is in checkpoint_words.h.  A mover may die at any time: what it was asked is asked
// of the next one, and only when several die over one request does that save fail, and nothing
// else.  The loop's thread only; callbacks come from the loop.
#pragma once

#include <event2/event.h>

#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launcher/jobd/checkpoint_words.h"
#include "launcher/jobd/link_services_event.h"
#include "launcher/jobd/mover_process_event.h"
#include "runtime/base/statuses.h"

namespace muster {

class Checkpoints {
 public:
  struct Callbacks {
    // To the head (0) or to a follower, as peer::ForMover of this attempt.
    std::function<void(std::uint32_t host_index, AttemptNumber attempt, const std::string& body)>
        send;
    std::function<void(const Cause&)> failed;  // The job requires its store, or was superseded.
    std::function<void()> settled;
  };

  Checkpoints(event_base* base, LinkServices& services, Callbacks callbacks);

  // A new attempt: the head claims the run in the store.
  void Begin(const StartAttempt& order);
  // The attempt is over: its ranks are gone, what is being committed goes on.
  void End();
  // As head: a follower is in the attempt and may be told the generation.
  void Welcome(std::uint32_t host_index);

  void Staged(std::uint32_t local_rank, const link::Staged& part);
  void Load(std::uint32_t local_rank);
  void Open(std::uint32_t local_rank);
  void Read(std::uint32_t local_rank, const link::ReadBlocks& read);
  void Hear(std::uint32_t from, const std::string& body);

  // Calls `settled` once nothing is being written any more.
  void Settle();
  bool Busy() const { return mover_.busy(); }
  // Whether a save still reads that memory.  If one of an earlier attempt does, the rank that asks
  // is sent a Saved when that is over.
  bool Reads(std::uint32_t local_rank, const std::string& memory);

  MoverProcess& mover() { return mover_; }
  std::set<pid_t> pids() const { return mover_.pids(); }

 private:
  struct Save {
    std::map<std::uint32_t, checkpoint_words::ShardEnded> ended;  // By host; the head's.
  };

  void On(std::uint32_t from, const checkpoint_words::Generation& message);
  void On(std::uint32_t from, const checkpoint_words::ShardEnded& message);
  void On(std::uint32_t from, const checkpoint_words::SaveEnded& message);
  // `deaths`: how many movers have died over this very request.
  void MaybeClaim();
  void Claim(int deaths = 0);
  void Write(std::uint32_t local_rank, const link::Staged& staged);
  void AskWrite(const checkpoint_words::ShardEnded& shard, const link::Staged& staged, int deaths);
  void DoneReading(const std::string& memory, std::uint64_t step);
  void ShardDone(const checkpoint_words::ShardEnded& shard);
  void Commit(std::uint64_t step, const Save& save);
  static mover::Commit CommitOf(const mover::Write& write, std::vector<mover::ShardReport> reports,
                                const std::string& host_state, std::uint32_t keep);
  void AskCommit(const mover::Commit& commit, int deaths);
  void Committed(std::uint64_t step, const mover::FromMover& answer);
  void EndSave(std::uint64_t step, const std::string& error);
  void AskLoad(std::uint32_t local_rank, int deaths = 0);
  void AskOpen(std::uint32_t local_rank, int deaths = 0);
  void AskRead(std::uint32_t local_rank, const link::ReadBlocks& read, int deaths);
  // What has to be known before anything is read; calls `act` then, or says why not.
  template <typename Answer>
  void WithGeneration(std::uint32_t local_rank, const std::function<void()>& act);
  void TellLoaded(std::uint32_t local_rank, const mover::FromMover& answer, UniqueFd payload);
  void Tell(std::uint32_t host_index, const checkpoint_words::Message& message);
  void TellAll(const checkpoint_words::Message& message);
  void StoreFailed(const std::string& text);
  void MaybeSettled();

  LinkServices& services_;
  const Callbacks callbacks_;
  MoverProcess mover_;
  std::optional<StartAttempt> order_;
  bool active_ = false;
  bool settling_ = false;
  bool claim_due_ = false;
  int finishing_ = 0;       // Saves of one node alone that are being written.
  std::uint64_t life_ = 0;  // Grows with each attempt: answers of an older one are late.
  std::optional<checkpoint_words::Generation> generation_;
  std::vector<std::function<void()>> waiting_;      // For the generation.
  std::map<std::uint32_t, link::Staged> parts_;     // By local rank, until the last part.
  std::map<std::uint64_t, std::uint32_t> stagers_;  // Step -> who is to be told.
  std::map<std::uint64_t, std::uint64_t> tries_;    // Step -> how often saved.
  std::map<std::uint64_t, Save> saves_;
  std::multimap<std::string, std::uint64_t> reading_;  // Memory -> the life that staged it.
  std::map<std::string, std::uint32_t> askers_;        // Memory that is read -> who waits for it.
};

}  // namespace muster
