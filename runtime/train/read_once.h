// The leaders of the nodes fill their memories from one checkpoint, of which each byte is read from
// the store by one of them and passed on to the others.
//
//   1. The first node opens the newest commit and sends its manifest to the others: all load the
//      same one, and nobody else asks the store what there is.
//   2. Each proves, before anything is read, that the checkpoint holds what its node wants
//      (checkpoint::LoadPlan), and tells the others which blocks that takes, or that it failed.
//   3. All divide the blocks alike (checkpoint::DivideReads), and take turns: in a round each reads
//      its next blocks, checks their CRCs, sends them to those who want them, and puts what it
//      reads and hears in its place.  It reads those of the next round meanwhile.  Memory: two
//      turns of every node.
//
// A leader that fails goes on through the rounds without reading, so that nobody waits for it in
// vain; those who wanted its blocks fail then, too.  The group has all ranks, so only transfers are
// used.  One that is silent for longer than its store may be (CheckpointSink::patience) is named,
// with what it was to read, and the group is aborted.  What a transfer that failed was using stays
// for good, since MPI may still get to it; a sink that has read stays as well, then.  One thread,
// that of the node's leader.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/plan.h"
#include "runtime/comm/process_group.h"
#include "runtime/train/checkpoint.h"
#include "runtime/train/topology.h"

namespace muster {

class ReadOnce {
 public:
  ReadOnce(ProcessGroup& group, const Topology& topology, CheckpointSink& sink)
      : group_(group), topology_(topology), sink_(sink) {}

  // Step 1.  nullopt: the run has no commit.
  Result<std::optional<checkpoint::Manifest>> Open();

  // Steps 2 and 3, also for a node that cannot use the checkpoint: `ready` says why.  into[i]: the
  // memory of wanted[i].
  Status Fill(const checkpoint::Manifest& manifest, const Status& ready,
              std::vector<link::StagedTensor> wanted, std::span<std::byte* const> into);

 private:
  using Turns = std::vector<std::vector<checkpoint::ReadTurn>>;  // By node.
  struct Filling;
  struct Round;
  // What goes to another node, or comes from it: "MiB 0 to 15 of FILE".
  struct Transfer {
    std::unique_ptr<Work> work;
    std::uint32_t node = 0;
    bool sends = false;
    std::string what;
  };
  struct Transfers {
    std::shared_ptr<void> memory;  // What they use.
    std::vector<Transfer> all;
  };

  void Send(Transfers& transfers, std::span<const std::byte> bytes, std::uint32_t node, int tag,
            const std::string& what);
  void Hear(Transfers& transfers, std::span<std::byte> bytes, std::uint32_t node, int tag,
            const std::string& what);
  Status Await(const Transfers& transfers, Duration patience);
  Result<std::optional<checkpoint::Manifest>> HearManifest();
  Status TellManifest(const Result<std::optional<checkpoint::Manifest>>& opened);
  Result<std::vector<checkpoint::BlockSet>> CompareWants(const Status& mine,
                                                         const checkpoint::BlockSet& blocks);
  void Begin(Filling& filling, std::size_t number, Round& round);
  Status End(Filling& filling, Round& round);
  int Leader(std::uint32_t node) const { return topology_.RankAt(node, 0); }

  ProcessGroup& group_;
  const Topology& topology_;
  CheckpointSink& sink_;
};

// Fills the memory of one rank, for itself alone.
Status ReadAlone(CheckpointSink& sink, const checkpoint::Manifest& manifest,
                 std::vector<link::StagedTensor> wanted, std::span<std::byte* const> into);

}  // namespace muster
