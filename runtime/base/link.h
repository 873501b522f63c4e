// The link: what a rank and its job daemon say to each other.
//
// AF_UNIX SOCK_SEQPACKET, inherited by the rank as the descriptor MUSTER_LINK_FD; one message a
// packet, at most 64 KiB.  A packet is a fixed little-endian header and the message in the form of
// wire.h; unknown types are skipped.  End of file is never a death signal (the pidfd is), and the
// link never blocks training: a rank that cannot send a Progress drops it.
//
// A program without libmuster may ignore the descriptor.  Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/base/wire.h"

namespace muster::link {

inline constexpr std::size_t kPacketMax = 65536;

// ---- rank to jobd -------------------------------------------------------------------------------

// First message of each rank.  `token` is MUSTER_LINK_TOKEN.  Said again when `polls` changes.
struct Hello {
  std::int32_t pid = 0;
  std::string token;
  std::uint32_t local_rank = 0;
  bool polls = true;  // It looks for Stop; one that only reports is told to end by SIGTERM.
  template <typename A>
  void Fields(A& a) {
    a(pid, token, local_rank, polls);
  }
};

// From kData on: parts of a step, for loops that tell them apart.
enum class Phase : std::uint8_t {
  kStarting,
  kRestoring,
  kTraining,
  kSaving,
  kStopping,
  kData,
  kForward,
  kBackward,
  kComm,
  kOptimizer,
  kEvaluation,
};

inline constexpr std::size_t kPhaseCount = 11;

inline bool InTraining(Phase phase) {
  return phase == Phase::kTraining || phase >= Phase::kData;
}

// Where the rank is.  Only the latest counts.
struct Progress {
  std::uint64_t step = 0;     // Steps completed.
  double loss = 0;            // Nats; only rank 0 need fill it.  Minus infinity: not computed yet.
  std::uint64_t tokens = 0;   // Of all ranks, since the run began.
  std::uint64_t comm_us = 0;  // Spent in collectives since the last Progress.
  Phase phase = Phase::kStarting;
  std::string
      note;  // Such as "restored step 40 from memory".  Rarely set; kept in the job's story.
  // By the number of the phase: spent in it since the last Progress.  Empty: it does not count.
  std::vector<std::uint64_t> phase_us;
  template <typename A>
  void Fields(A& a) {
    a(step, loss, tokens, comm_us, phase, note, phase_us);
  }
};

struct KvSet {
  std::string key, value;
  template <typename A>
  void Fields(A& a) {
    a(key, value);
  }
};

// Answered by KvValue when the key is set on any node, at the latest after timeout_ms.
struct KvGet {
  std::string key;
  std::uint32_t timeout_ms = 0;
  template <typename A>
  void Fields(A& a) {
    a(key, timeout_ms);
  }
};

// Asks for the memfd `name` of this job on this node, created with zeros when it is not there yet;
// an error when it is there with another size, since somebody may have mapped it.  It outlives
// ranks and attempts.  Answered by Memory with the descriptor.
struct MemoryGet {
  std::string name;
  std::uint64_t bytes = 0;
  template <typename A>
  void Fields(A& a) {
    a(name, bytes);
  }
};

// One tensor (or a box of one) inside a staged shard.  Row major.
struct StagedTensor {
  using Fixed = void;  // Programs that are linked with libmuster_client know it.
  std::string name;
  std::string dtype;                        // As safetensors spells it, such as "F32".
  std::vector<std::uint64_t> global_shape;  // Of the whole tensor.
  std::vector<std::uint64_t> offset;        // Of this box in it.
  std::vector<std::uint64_t> shape;         // Of this box.
  bool operator==(const StagedTensor&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(name, dtype, global_shape, offset, shape);
  }
};

// This node's part of a checkpoint lies in the memfd `memory`: the tensors' bytes one after the
// other, in this order, from byte 0.  One rank of a node says so, after all of them copied.  The
// memory must not change until Saved.  A long tensor list: several, `more`.  No memory: skipped.
struct Staged {
  std::uint64_t step = 0;
  std::string memory;
  std::vector<StagedTensor> tensors;
  std::string host_state;  // JSON object: sampler, seed, data CRC, kernel family, user's metadata.
  bool more = false;
  std::uint64_t common = 0;  // Of SaveBegin.
  template <typename A>
  void Fields(A& a) {
    a(step, memory, tensors, host_state, more, common);
  }
};

// Asks for the newest committed checkpoint of the run.  Answered by Loaded.  One rank of a node
// asks; the bytes are the same on each node.
struct Load {
  bool unused = false;
  template <typename A>
  void Fields(A& a) {
    a(unused);
  }
};

// Asks what the newest committed checkpoint of the run holds.  Answered by CheckpointOpened.
struct OpenCheckpoint {
  bool unused = false;
  template <typename A>
  void Fields(A& a) {
    a(unused);
  }
};

// Asks for some MiB of a file of a save, into the memfd `memory`, from its byte 0.  Answered by
// BlocksRead when the CRC-32C of each held.
struct ReadBlocks {
  std::string memory;
  std::uint64_t generation = 0, step = 0, nonce = 0;  // The save.
  std::string file;
  std::uint64_t file_size = 0, first = 0;
  std::vector<std::uint32_t> crcs;
  template <typename A>
  void Fields(A& a) {
    a(memory, generation, step, nonce, file, file_size, first, crcs);
  }
};

// ---- saves and loads of all ranks of a node together ----
// What libmuster_client says; launcher/jobd/rank_meetings.h has the steps.

// This rank's part of the save of `step`: its tensors' bytes one after the other, in this order.
// All ranks of the job say it for the same steps in the same order.  Answered by SaveInto.
struct SaveBegin {
  std::uint64_t step = 0;
  std::uint64_t bytes = 0;       // Of all its tensors.
  std::uint32_t timeout_ms = 0;  // For the other ranks of this node, and for a memory.
  std::vector<StagedTensor> tensors;
  std::string host_state;  // JSON object; rank 0's counts.
  bool more = false;       // Several make up one: tensors and host_state are appended.
  // A hash of the tensors that are said to be the same on all ranks, of which each saves a part.
  std::uint64_t common = 0;
  template <typename A>
  void Fields(A& a) {
    a(step, bytes, timeout_ms, tensors, host_state, more, common);
  }
};

// The part is in the memory and will not change; or `error` says why there is none.
struct SaveCopied {
  std::uint64_t step = 0;
  std::string error;
  template <typename A>
  void Fields(A& a) {
    a(step, error);
  }
};

// Asks for whole tensors by `patterns` (* and ? as in a shell), or for boxes, of the newest commit.
// All ranks of the job ask at the same time.  Answered by LoadedParts.
struct LoadParts {
  std::uint64_t number = 0;                           // Of the load, counted by the rank.
  std::uint64_t generation = 0, step = 0, nonce = 0;  // Not looked at: the head finds the commit.
  std::uint32_t timeout_ms = 0;                       // For the other ranks.
  std::vector<std::string> patterns;
  std::vector<StagedTensor> tensors;
  bool more = false;  // As SaveBegin's.
  template <typename A>
  void Fields(A& a) {
    a(number, generation, step, nonce, timeout_ms, patterns, tensors, more);
  }
};

// The rank is about to end by itself, after the last message it will send.
struct Bye {
  std::int32_t exit_code = 0;
  template <typename A>
  void Fields(A& a) {
    a(exit_code);
  }
};

using ToJobd = std::variant<Hello, Progress, KvSet, KvGet, MemoryGet, Staged, Load, Bye,
                            OpenCheckpoint, ReadBlocks, SaveBegin, SaveCopied, LoadParts>;

// ---- jobd to rank -------------------------------------------------------------------------------

// Finish the step, checkpoint, exit with 0.  SIGTERM comes too, where it is not just a death: to
// programs that do not look for Stop, and to those that catch it.  After grace_ms comes SIGKILL.
struct Stop {
  std::uint32_t grace_ms = 0;
  template <typename A>
  void Fields(A& a) {
    a(grace_ms);
  }
};

struct KvValue {
  std::string key, value;
  bool found = false;
  template <typename A>
  void Fields(A& a) {
    a(key, value, found);
  }
};

// A rank of another node is gone: collectives with it cannot complete.
struct PeerLost {
  std::uint32_t rank = 0;
  template <typename A>
  void Fields(A& a) {
    a(rank);
  }
};

// Carries the descriptor (SCM_RIGHTS).  An error leaves it out.
struct Memory {
  std::string name;
  std::uint64_t bytes = 0;
  bool fresh = false;  // Made by this request: all zeros.
  std::string error;
  // A save that an earlier attempt staged here is still being written: leave the memory alone until
  // the next Saved, which comes to whoever is the node's staging rank by then.
  bool busy = false;
  template <typename A>
  void Fields(A& a) {
    a(name, bytes, fresh, error, busy);
  }
};

// The checkpoint of `step` is committed, or `error` says why it is not and the rank goes on.
struct Saved {
  std::uint64_t step = 0;
  std::string error;
  bool optional = false;  // The job's user wants it to go on, and to end well, without.
  bool local = false;  // Not yet committed: on this node's own disk.  The memory it was staged in
                       // is free; another Saved follows.
  template <typename A>
  void Fields(A& a) {
    a(step, error, optional, local);
  }
};

// Carries a descriptor (SCM_RIGHTS) when `found`: a memfd with the tensors' bytes one after the
// other in the order of `tensors`.  `error` means that there is a store and it could not be read.
struct Loaded {
  bool found = false;
  std::uint64_t step = 0;
  std::vector<StagedTensor> tensors;
  std::string host_state;
  std::string error;
  bool more = false;
  template <typename A>
  void Fields(A& a) {
    a(found, step, tensors, host_state, error, more);
  }
};

// Carries a descriptor (SCM_RIGHTS) when `found`: a memfd with the `bytes` of the manifest
// (runtime/checkpoint/manifest.h).
struct CheckpointOpened {
  bool found = false;
  std::uint64_t bytes = 0;
  std::string error;
  template <typename A>
  void Fields(A& a) {
    a(found, bytes, error);
  }
};

struct BlocksRead {
  std::string error;
  template <typename A>
  void Fields(A& a) {
    a(error);
  }
};

// Carries a descriptor (SCM_RIGHTS): a memfd of `bytes` in which this rank's part begins at
// `begin`. An error leaves it out: nothing is saved of that step.
struct SaveInto {
  std::uint64_t step = 0;
  std::uint64_t begin = 0, bytes = 0;
  std::string error;
  bool busy = false;  // With an error: earlier saves are still being written.
  template <typename A>
  void Fields(A& a) {
    a(step, begin, bytes, error, busy);
  }
};

// Carries a descriptor (SCM_RIGHTS) with its last packet, unless there is an `error`: a memfd of
// `bytes`, the same for all ranks of the node, in which tensors[i] begins at begins[i].  CRCs held.
struct LoadedParts {
  std::uint64_t number = 0;
  std::uint64_t bytes = 0;
  std::vector<StagedTensor> tensors;
  std::vector<std::uint64_t> begins;
  std::string host_state;
  std::string error;
  bool more = false;  // As SaveBegin's.
  bool none = false;  // There is no commit yet.
  std::uint64_t step = 0;
  template <typename A>
  void Fields(A& a) {
    a(number, bytes, tensors, begins, host_state, error, more, none, step);
  }
};

// A key was not set: the attempt has as many, or as large ones, as it may have.
struct KvRefused {
  std::string key;
  template <typename A>
  void Fields(A& a) {
    a(key);
  }
};

using ToRank = std::variant<Stop, KvValue, PeerLost, Memory, Saved, Loaded, KvRefused,
                            CheckpointOpened, BlocksRead, SaveInto, LoadedParts>;

// ---- the packet ---------------------------------------------------------------------------------

struct Header {
  std::uint16_t version = 1;
  std::uint16_t type = 0;    // Index in the variant.
  std::uint32_t length = 0;  // Of what follows.
  std::uint64_t seq = 0;     // Grows by one for each packet of a direction.
};

template <typename Variant>
std::string EncodePacket(const Variant& message, std::uint64_t seq) {
  std::string body = EncodeVariant(message).substr(1);
  Header header{.type = static_cast<std::uint16_t>(message.index()),
                .length = static_cast<std::uint32_t>(body.size()),
                .seq = seq};
  return std::string(reinterpret_cast<const char*>(&header), sizeof header) + body;
}

// nullopt: a type that this build does not know; to be skipped.
template <typename Variant>
Result<std::optional<Variant>> DecodePacket(std::string_view packet) {
  Header header;
  if (packet.size() < sizeof header) return Status(Code::kInvalid, "link: a packet too short");
  std::memcpy(&header, packet.data(), sizeof header);
  if (header.version != 1) {
    return Status(Code::kUnimplemented,
                  "link: version " + std::to_string(header.version) + ", this build speaks 1");
  }
  if (packet.size() != sizeof header + header.length) {
    return Status(Code::kInvalid, "link: a packet whose length is wrong");
  }
  if (header.type > 255) return std::optional<Variant>();
  std::string body(1, static_cast<char>(header.type));
  body += packet.substr(sizeof header);
  return DecodeVariant<Variant>(body);
}

}  // namespace muster::link
