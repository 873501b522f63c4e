// Checkpoints of a job, seen from one of its daemons: what ranks stage goes to this node's mover,
// the head commits when every node's part is written, everyone is told how it went.
//
// With a local store a save is written there first, by a mover of its own, and moved to the shared
// one behind the rank's back: two at most wait for that, a third one's memory stays in use.
//
// The protocol is in checkpoint_words.h.  A mover may die at any time: what it was asked is asked
// of the next one, and only when several die over one request does that save fail, and nothing
// else.  The loop's thread only; callbacks come from the loop.
#pragma once

#include <event2/event.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launcher/jobd/checkpoint_words.h"
#include "launcher/jobd/commit_tries.h"
#include "launcher/jobd/head_loads.h"
#include "launcher/jobd/head_saves.h"
#include "launcher/jobd/later_event.h"
#include "launcher/jobd/leftover_table.h"
#include "launcher/jobd/link_services_event.h"
#include "launcher/jobd/meeting_place_event.h"
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
  // What ranks say that save and load together (rank_meetings.h).
  void Meet(std::uint32_t local_rank, const link::ToJobd& message);
  void RankGone(std::uint32_t local_rank);
  void Hear(std::uint32_t from, const std::string& body);

  // Calls `settled` once nothing is being written any more.  A store that stands still is left.
  void Settle();
  bool Busy() const { return mover_.busy() || local_.busy(); }
  // Whether a save still reads that memory; of an earlier attempt's a Saved tells the end.
  bool Reads(std::uint32_t local_rank, const std::string& memory);

  bool Reaped(pid_t pid) { return mover_.Reaped(pid) || local_.Reaped(pid); }
  std::set<pid_t> pids() const {
    std::set<pid_t> pids = mover_.pids();
    pids.merge(local_.pids());
    return pids;
  }

 private:
  using Ranks = std::vector<std::uint32_t>;  // Local ones.
  // This node's part of a save, also beyond the end of its attempt.
  struct Flight {
    std::uint64_t life = 0;
    std::vector<std::uint32_t> local_ranks;  // That are to be told.
    std::string memory;
    UniqueFd bytes;  // That memory.
    mover::Write write;
    checkpoint_words::ShardEnded shard;
    mover::Commit job;  // What is the same for every save of its attempt.
    bool reads = true;  // The memory.
  };
  using FlightPtr = std::shared_ptr<Flight>;
  using CommittingPtr = std::shared_ptr<Committing>;

  void On(std::uint32_t from, const checkpoint_words::Generation& message);
  void On(std::uint32_t from, const checkpoint_words::ShardEnded& message);
  void On(std::uint32_t from, const checkpoint_words::SaveEnded& message);
  void On(std::uint32_t from, const checkpoint_words::AskParts& message);
  void On(std::uint32_t from, const checkpoint_words::HasPart& message);
  void On(std::uint32_t from, const checkpoint_words::PartsTold& message);
  void On(std::uint32_t from, const checkpoint_words::MoveOn& message);
  void On(std::uint32_t from, const checkpoint_words::MovedOn& message);
  void On(std::uint32_t from, const checkpoint_words::SaveCame& message);
  void On(std::uint32_t from, const checkpoint_words::NoMoreSaves& message);
  void On(std::uint32_t from, const checkpoint_words::LoadCame& message);
  void On(std::uint32_t from, const checkpoint_words::LoadOf& message);
  void EndLoads();
  void AskNewest(const HeadLoads::Round& round, int deaths = 0);
  void Answer(const HeadLoads::Round& round, checkpoint_words::LoadOf of);
  void GiveUp(const std::vector<HeadSaves::GivenUp>& saves);
  void MaybeGather();
  void AskFind(int deaths = 0);
  void Gathered(std::vector<mover::Part> local);
  void TellParts();
  void NextLeftover();
  void CommitLeftover();
  void AskMoveOn(std::uint32_t head, const mover::Part& part, int deaths);
  void DropLocal(const std::vector<mover::SaveName>& saves);
  // `deaths`: how many movers have died over this very request.
  void Claim(int deaths = 0);
  // `why_not`: this node has no part of it.
  void Write(const Ranks& local_ranks, const link::Staged& staged, const std::string& why_not);
  void Met(const Ranks& local_ranks, const link::Staged& staged, const std::string& why_not);
  void AskLoadParts(const mover::LoadParts& load, int deaths);
  std::uint64_t LimitOfNode() const;
  static mover::Part PartOf(const Flight& flight, const mover::ShardReport& report);
  void Start(const FlightPtr& flight);
  void AskLocal(const FlightPtr& flight, int deaths);
  void AskKeep(const FlightPtr& flight, const mover::ShardReport& report, int deaths);
  void Kept(const FlightPtr& flight, const mover::Part& part);
  void AskMove(const FlightPtr& flight, const mover::Part& part, int deaths);
  void LocalFailed(const FlightPtr& flight, const std::string& why);
  void NextLocal();
  void AskWrite(const FlightPtr& flight, int deaths);
  void PartEnded(const FlightPtr& flight, const mover::FromMover& answer);
  void DoneReading(const FlightPtr& flight);
  void Commit(std::uint64_t step, const HeadSaves::Ended& ended);
  static mover::Commit CommitOf(const mover::Write& write, std::vector<mover::ShardReport> reports,
                                const std::string& host_state, const mover::Commit& job);
  mover::Commit CommitOfJob() const;
  void AskCommit(const mover::Commit& commit, Whose whose);
  void SendCommit(const CommittingPtr& commit, int deaths = 0);
  bool TryLater(const CommittingPtr& commit, const mover::FromMover& answer);
  void CommitEnded(const Committing& commit, const mover::FromMover& answer);
  bool EndLeftovers();
  void KeepInStore(const mover::Part& part);
  void LookForParts(const mover::Part& first);
  void CommitParts(const std::vector<mover::Part>& parts);
  void TellLeft(const mover::Part& part, std::size_t there, const std::string& why);
  void LeftoverCommitted(const mover::FromMover& answer);
  void Committed(std::uint64_t step, const mover::FromMover& answer);
  void EndSave(std::uint64_t step, const std::string& error);
  void AskLoad(std::uint32_t local_rank, int deaths = 0);
  void AskOpen(std::uint32_t local_rank, int deaths = 0);
  void AskRead(std::uint32_t local_rank, const link::ReadBlocks& read, int deaths);
  // What has to be known before anything is read; then `act`, or why not.
  template <typename Answer>
  void WithGeneration(std::uint32_t local_rank, const std::function<void()>& act);
  void TellLoaded(std::uint32_t local_rank, const mover::FromMover& answer, UniqueFd payload);
  void ToHead(const checkpoint_words::Message& message);
  void Tell(std::uint32_t host_index, const checkpoint_words::Message& message);
  void TellAll(const checkpoint_words::Message& message);
  void StoreFailed(const std::string& text);
  void MaybeSettled();

  LinkServices& services_;
  const Callbacks callbacks_;
  MeetingPlace meetings_;
  MoverProcess mover_;  // Of the shared store.
  MoverProcess local_;
  std::optional<StartAttempt> order_;
  bool active_ = false, settling_ = false;
  bool gather_due_ = false, gathered_ = false, asked_for_parts_ = false;
  bool local_dropped_ = false;  // At the end of the job.
  int finishing_ = 0;           // Parts and commits on their way.
  int on_disk_ = 0;  // Of them, those that are in the local store or being written there.
  std::deque<FlightPtr> behind_;  // Those that wait until fewer are.
  std::uint64_t life_ = 0;        // Grows with each attempt: answers of an older one are late.
  std::optional<checkpoint_words::Generation> generation_;
  std::vector<std::function<void()>> waiting_;   // For the generation.
  std::map<std::uint32_t, link::Staged> parts_;  // By local rank, until the last part.
  std::map<std::uint64_t, std::vector<std::uint32_t>> stagers_;  // Step -> who is to be told.
  std::map<std::uint64_t, std::uint64_t> tries_;                 // Step -> how often saved.
  HeadSaves saves_;
  HeadLoads loads_;
  Later later_;
  TimePoint look_until_{};                             // For parts, when the job is over.
  std::optional<Gathering> gathering_;                 // The head's.
  std::vector<mover::Part> written_;                   // In the shared store, not known committed.
  std::vector<mover::Part> found_;                     // In the local store when an attempt began.
  std::vector<mover::SaveName> kept_;                  // In the local store, and moved.
  std::multimap<std::string, std::uint64_t> reading_;  // Memory -> the life that staged it.
  std::set<std::string> staged_;  // Memories that will be read once there is a generation.
  std::map<std::string, std::uint32_t> askers_;  // Memory that is read -> who waits for it.
};

}  // namespace muster
