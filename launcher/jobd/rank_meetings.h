// Where the ranks of a node meet to save or to load together (libmuster_client): each has a part,
// and none knows the others'.
//
// A save
//   1. Each rank says SaveBegin: the step, and what its part is.
//   2. When all have, and one of the two staging memories is neither copied into nor read by a
//      save, each is told its place in that memory: SaveInto.
//   3. Each copies its part, says SaveCopied, and goes on.  After the last of them the node's part
//      is Staged, as a rank of our own loop says it.
// A rank that comes with another step, one that does not come in time, no memory in time, a part
// that cannot be copied, ranks that disagree on what all have: nothing is saved of that step, all
// ranks of it are told, and so are the other nodes, by the head; a rank that comes to it later,
// too. So it is when a rank has ended, or says that it has other bytes than its tensors have.  A
// memory is given out again only when all who were to copy into it have said that they are done, or
// are gone.  Meetings end with their attempt, when all its ranks are gone: what is staged is of one
// step and one attempt.
//
// A load
//   1. Each rank says LoadParts.
//   2. When all have, the head is told, and answers when all nodes have: LoadOf, with a commit.
//   3. One request to the mover asks for all of it, what several want only once.
//   4. Each is told where its tensors are, in a memory that all of them map.
// How often a rank has loaded before does not count: ranks meet as they come.
//
// Pure; one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launcher/jobd/checkpoint_words.h"
#include "runtime/base/clock.h"
#include "runtime/base/link.h"
#include "runtime/base/mover_load.h"
#include "runtime/base/result.h"

namespace muster {

class RankMeetings {
 public:
  static constexpr const char* kStages[] = {"client.stage0", "client.stage1"};
  static constexpr const char* kLoaded = "loaded";  // What the mover filled last.

  struct Callbacks {
    // The descriptor of `memory` goes along, unless that is empty.
    std::function<void(std::uint32_t local_rank, const link::ToRank&, const std::string& memory)>
        say;
    // Whether a save still reads it.
    std::function<bool(const std::string& memory)> reads;
    // Makes it at least so large; what it held is lost.
    std::function<Status(const std::string& memory, std::uint64_t bytes)> make;
    // The node's part of a save of these ranks, or why there is none.
    std::function<void(const std::vector<std::uint32_t>& local_ranks, const link::Staged&,
                       const std::string& error)>
        staged;
    // The first rank of this node has come to that save, and may wait so long for the others.
    std::function<void(std::uint64_t step, std::uint32_t timeout_ms)> came;
    // A line for the job's story.
    std::function<void(const std::string&)> note;
    // All ranks of this node have come to a load, and may wait so long for others.  To be answered
    // by LoadOf.
    std::function<void(std::uint64_t number, std::uint32_t timeout_ms)> load_came;
    // To be answered by Loaded.
    std::function<void(const mover::LoadParts&)> load;
  };

  explicit RankMeetings(Callbacks callbacks) : callbacks_(std::move(callbacks)) {}

  // `ranks`: the job's, by local rank.
  void Begin(std::vector<std::uint32_t> ranks);
  void End();

  void On(std::uint32_t local_rank, const link::SaveBegin& part, TimePoint now);
  void On(std::uint32_t local_rank, const link::SaveCopied& copied);
  void On(std::uint32_t local_rank, const link::LoadParts& part, TimePoint now);
  void On(const checkpoint_words::LoadOf& of);
  void Loaded(const Result<mover::PartsLoaded>& loaded);
  // That rank has ended: nobody waits for it.
  void Gone(std::uint32_t local_rank);
  bool all_gone() const { return gone_.size() == ranks_.size(); }
  // A save has stopped reading one.
  void MemoryFree() { GiveMemory(); }

  // When Tick has something to do.
  std::optional<TimePoint> deadline() const;
  void Tick(TimePoint now);

 private:
  struct Save {
    std::uint64_t step = 0;
    TimePoint deadline;
    std::map<std::uint32_t, link::SaveBegin> parts;  // By local rank.
    std::string memory;                              // Once it is given.
    std::set<std::uint32_t> copying;
    std::string error;  // Of the copying.
  };
  struct Load {
    TimePoint deadline;
    std::map<std::uint32_t, link::LoadParts> parts;
    std::uint64_t number = 0;           // Once all have come.
    std::optional<std::uint64_t> step;  // Of the commit that the mover was asked for.
  };
  using SaveAt = std::list<Save>::iterator;

  void GiveMemory();
  void Give(Save& save, const std::string& memory);
  void Fail(SaveAt save, const std::string& error, bool busy = false);
  void GiveUp(SaveAt save, const std::string& error);  // Also for those who have yet to come.
  void EndCopying(SaveAt save);
  void AskMover(const mover::SaveName& save);
  void EndLoad(const link::LoadedParts& answer);
  void FailLoad(const std::string& error);
  std::string Missing(const std::vector<std::uint32_t>& local_ranks) const;
  std::string Rank(std::uint32_t local_rank) const;

  const Callbacks callbacks_;
  std::vector<std::uint32_t> ranks_;
  std::map<std::uint32_t, link::SaveBegin> arriving_save_;  // Until the last packet.
  std::map<std::uint32_t, link::LoadParts> arriving_load_;
  std::list<Save> saves_;  // In the order of the ranks' calls.
  std::set<std::uint32_t> gone_;
  // The last save that was not waited for any longer, and who had not come.  Until a load: the
  // step may come again then.
  struct {
    std::uint64_t step = 0;
    std::string error;
    std::set<std::uint32_t> missing;
  } given_up_;
  std::optional<Load> load_;
  std::uint64_t loads_ = 0;
};

}  // namespace muster
