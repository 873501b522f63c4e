#include "runtime/train/read_once.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <string>

#include "runtime/checkpoint/crc32c.h"

namespace muster {
namespace {

using checkpoint::BlockSet;
using checkpoint::Manifest;
using checkpoint::ManifestFile;
using checkpoint::ReadTurn;

constexpr int kTag = (1 << 20) + 16;  // Behind those of trainer_start.cc.
constexpr std::uint64_t kRoundMax = std::uint64_t{64}
                                    << 20U;  // Bytes that a node hears in a round.
constexpr std::uint64_t kTurnMax = std::uint64_t{16} << 20U;

std::string NodeText(std::uint32_t node) {
  return "node " + std::to_string(node);
}

// "MiB 16 to 31 of shard-00001-of-00002.safetensors"
std::string TurnText(const Manifest& manifest, const ReadTurn& turn) {
  return "MiB " + std::to_string(turn.first) + " to " +
         std::to_string(turn.first + turn.blocks - 1) + " of " +
         std::string(manifest.file(turn.file).name);
}

std::string SecondsText(Duration duration) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f s", std::chrono::duration<double>(duration).count());
  return text;
}

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}
template <typename T>
std::span<std::byte> WritableBytesOf(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

constexpr char kWhichText[] = "which checkpoint is the newest";
constexpr char kManifestText[] = "the manifest";
constexpr char kWantText[] = "which blocks are wanted";

struct Heading {
  std::uint64_t failed = 0, found = 0, bytes = 0;
};

// For as long as the process lives.
void KeepForGood(const std::shared_ptr<void>& memory) {
  struct Kept {
    std::shared_ptr<void> memory;
    Kept* next = nullptr;
  };
  static std::atomic<Kept*> all{nullptr};
  auto* kept = new Kept{.memory = memory, .next = all.load()};
  while (!all.compare_exchange_weak(kept->next, kept)) {
  }
}

}  // namespace

Status ReadAlone(CheckpointSink& sink, const Manifest& manifest,
                 std::vector<link::StagedTensor> wanted, std::span<std::byte* const> into) {
  const auto plan = checkpoint::LoadPlan::Make(manifest, std::move(wanted));
  if (!plan.ok()) return plan.status();
  const BlockSet wants[] = {plan->blocks()};
  for (const ReadTurn& turn :
       checkpoint::DivideReads(manifest, wants, kTurnMax / checkpoint::kBlock)) {
    const auto read = sink.Read(manifest.save(), manifest.file(turn.file), turn.first, turn.blocks);
    if (!read.ok()) return read.status();
    plan->Scatter(turn.file, turn.first * checkpoint::kBlock, *read, into);
  }
  return {};
}

void ReadOnce::Send(Transfers& transfers, std::span<const std::byte> bytes, std::uint32_t node,
                    int tag, const std::string& what) {
  transfers.all.push_back({.work = group_.start(Collective::Send(bytes, Leader(node), tag)),
                           .node = node,
                           .sends = true,
                           .what = what});
}

void ReadOnce::Hear(Transfers& transfers, std::span<std::byte> bytes, std::uint32_t node, int tag,
                    const std::string& what) {
  transfers.all.push_back({.work = group_.start(Collective::Recv(bytes, Leader(node), tag)),
                           .node = node,
                           .what = what});
}

// Until all have ended.
Status ReadOnce::Await(const Transfers& transfers, Duration patience) {
  Status first;
  for (const Transfer& transfer : transfers.all) {
    Status ended = transfer.work->wait(patience);
    if (transfer.work->done()) {
      ended = transfer.work->wait();  // Maybe only just.
    } else {
      ended = Status(Code::kDeadline, NodeText(transfer.node) + " has not " +
                                          (transfer.sends ? "taken " : "sent ") + transfer.what +
                                          " for " + SecondsText(patience));
      group_.abort(ended);
      static_cast<void>(transfer.work->wait());
    }
    if (first.ok()) first = std::move(ended);
  }
  if (!first.ok()) KeepForGood(transfers.memory);
  return first;
}

Result<std::optional<Manifest>> ReadOnce::Open() {
  if (topology_.node() != 0) return HearManifest();
  auto opened = sink_.OpenNewest();
  const Status told = TellManifest(opened);
  if (!opened.ok()) return opened;
  RETURN_IF_ERROR(told);
  return opened;
}

Status ReadOnce::TellManifest(const Result<std::optional<Manifest>>& opened) {
  struct Telling {
    Heading heading;
    std::optional<Manifest> manifest;
  };
  const auto telling = std::make_shared<Telling>();
  if (opened.ok()) telling->manifest = *opened;
  std::span<const std::byte> bytes;
  if (telling->manifest) bytes = telling->manifest->bytes();
  telling->heading = {
      .failed = opened.ok() ? 0U : 1U, .found = bytes.empty() ? 0U : 1U, .bytes = bytes.size()};
  Transfers transfers{.memory = telling, .all = {}};
  for (std::uint32_t node = 1; node < topology_.nodes(); ++node) {
    Send(transfers, BytesOf(telling->heading), node, kTag, kWhichText);
    if (!bytes.empty()) Send(transfers, bytes, node, kTag + 1, kManifestText);
  }
  return Await(transfers, kPeerTimeout);
}

Result<std::optional<Manifest>> ReadOnce::HearManifest() {
  const auto heading = std::make_shared<Heading>();
  Transfers told{.memory = heading, .all = {}};
  Hear(told, WritableBytesOf(*heading), 0, kTag, kWhichText);
  RETURN_IF_ERROR(Await(told, kPeerTimeout));
  if (heading->failed != 0) {
    return Status(Code::kUnavailable, "node 0 could not open the newest checkpoint");
  }
  if (heading->found == 0) return std::optional<Manifest>();
  const auto words = std::make_shared<std::vector<std::uint64_t>>((heading->bytes + 7) / 8);
  const auto bytes = std::as_writable_bytes(std::span(*words)).first(heading->bytes);
  Transfers sent{.memory = words, .all = {}};
  Hear(sent, bytes, 0, kTag + 1, kManifestText);
  RETURN_IF_ERROR(Await(sent, kPeerTimeout));
  auto manifest = Manifest::Parse(bytes, words);
  if (!manifest.ok()) return std::move(manifest).status();
  return std::optional(*std::move(manifest));
}

// What every node wants; an error of any of them is everybody's.
Result<std::vector<BlockSet>> ReadOnce::CompareWants(const Status& mine, const BlockSet& blocks) {
  const std::uint32_t nodes = topology_.nodes();
  const auto owned = std::make_shared<std::vector<std::vector<std::uint64_t>>>(nodes);
  auto& words = *owned;
  for (auto& of_node : words) of_node.resize(blocks.words().size() + 1);
  auto& own = words[topology_.node()];
  own[0] = mine.ok() ? 0 : 1;
  std::copy(blocks.words().begin(), blocks.words().end(), own.begin() + 1);
  Transfers transfers{.memory = owned, .all = {}};
  for (std::uint32_t node = 0; node < nodes; ++node) {
    if (node == topology_.node()) continue;
    Send(transfers, std::as_bytes(std::span(own)), node, kTag + 2, kWantText);
    Hear(transfers, std::as_writable_bytes(std::span(words[node])), node, kTag + 2, kWantText);
  }
  const Status told = Await(transfers, kPeerTimeout);
  RETURN_IF_ERROR(mine);
  RETURN_IF_ERROR(told);
  std::vector<BlockSet> wants;
  for (std::uint32_t node = 0; node < nodes; ++node) {
    if (words[node][0] != 0) {
      return Status(Code::kAborted, "node " + std::to_string(node) + " cannot use this checkpoint");
    }
    wants.emplace_back(std::vector(words[node].begin() + 1, words[node].end()));
  }
  return wants;
}

namespace {

struct Run {
  std::uint64_t begin = 0, end = 0;  // Bytes of a turn.
  std::span<const std::byte> of(std::span<const std::byte> bytes) const {
    return bytes.subspan(begin, end - begin);
  }
  std::span<std::byte> of(std::span<std::byte> bytes) const {
    return bytes.subspan(begin, end - begin);
  }
};

}  // namespace

// What is under way of one round.
struct ReadOnce::Round {
  struct Memory {
    std::vector<std::vector<std::byte>> buffers;  // By node: what is heard from it.
    std::vector<std::uint64_t> sound;             // By node: whether it could read its turn.
  };
  std::vector<const ReadTurn*> turns;  // By node; null: it has read all of its own.
  std::shared_ptr<Memory> memory = std::make_shared<Memory>();
  std::vector<std::vector<std::byte>>& buffers = memory->buffers;
  std::vector<std::uint64_t>& sound = memory->sound;
  std::span<const std::byte> mine;
  Transfers transfers{.memory = memory, .all = {}};
};

struct ReadOnce::Filling {
  const checkpoint::LoadPlan& plan;
  std::span<std::byte* const> into;
  std::vector<BlockSet> wants;
  Turns turns;
  Status failed;  // The first failure of this node.

  // What the node wants of a turn, in runs.
  std::vector<Run> RunsOf(std::uint32_t node, const ReadTurn& turn) const {
    const ManifestFile file = plan.manifest().file(turn.file);
    const auto wanted = [&](std::uint64_t block) {
      return wants[node].Has(file.first_block + turn.first + block);
    };
    std::vector<Run> runs;
    for (std::uint64_t block = 0; block < turn.blocks; ++block) {
      if (!wanted(block)) continue;
      const std::uint64_t begin = block;
      while (block + 1 < turn.blocks && wanted(block + 1)) ++block;
      const std::uint64_t whole = (block + 1) * checkpoint::kBlock;
      runs.push_back({.begin = begin * checkpoint::kBlock, .end = std::min(whole, BytesOf(turn))});
    }
    return runs;
  }
  std::uint64_t BytesOf(const ReadTurn& turn) const {
    const std::uint64_t begin = turn.first * checkpoint::kBlock;
    return std::min(turn.blocks * checkpoint::kBlock, plan.manifest().file(turn.file).size - begin);
  }
};

// Receives first, so that nobody's bytes wait for this node's store.
void ReadOnce::Begin(Filling& filling, std::size_t number, Round& round) {
  const Manifest& manifest = filling.plan.manifest();
  const std::uint32_t me = topology_.node();
  round.transfers.all.clear();
  round.turns.assign(topology_.nodes(), nullptr);
  round.buffers.resize(topology_.nodes());
  round.sound.assign(topology_.nodes(), 0);
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    if (number >= filling.turns[node].size()) continue;
    const ReadTurn& turn = filling.turns[node][number];
    round.turns[node] = &turn;
    const std::vector<Run> runs = filling.RunsOf(me, turn);
    if (node == me || runs.empty()) continue;
    round.buffers[node].resize(filling.BytesOf(turn));
    const std::string what = TurnText(manifest, turn);
    Hear(round.transfers, WritableBytesOf(round.sound[node]), node, kTag + 3, what);
    for (const Run& run : runs) {
      Hear(round.transfers, run.of(std::span(round.buffers[node])), node, kTag + 4, what);
    }
  }
  const ReadTurn* turn = round.turns[me];
  if (turn == nullptr) return;
  if (filling.failed.ok()) {
    auto read = sink_.Read(manifest.save(), manifest.file(turn->file), turn->first, turn->blocks);
    if (read.ok()) round.mine = *read;
    if (!read.ok()) filling.failed = std::move(read).status();
  }
  round.sound[me] = filling.failed.ok() ? 1 : 0;
  if (!filling.failed.ok()) {
    round.buffers[me].resize(filling.BytesOf(*turn));
    round.mine = round.buffers[me];
  }
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    const std::vector<Run> runs = filling.RunsOf(node, *turn);
    if (node == me || runs.empty()) continue;
    const std::string what = TurnText(manifest, *turn);
    Send(round.transfers, BytesOf(round.sound[me]), node, kTag + 3, what);
    for (const Run& run : runs) {
      Send(round.transfers, run.of(round.mine), node, kTag + 4, what);
    }
  }
}

Status ReadOnce::End(Filling& filling, Round& round) {
  RETURN_IF_ERROR(Await(round.transfers, sink_.patience()));
  const std::uint32_t me = topology_.node();
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    const ReadTurn* heard = round.turns[node];
    if (heard == nullptr) continue;
    const std::vector<Run> runs = filling.RunsOf(me, *heard);
    if (runs.empty()) continue;
    if (round.sound[node] == 0) {
      if (filling.failed.ok()) {
        filling.failed = Status(Code::kAborted, NodeText(node) + " could not read " +
                                                    TurnText(filling.plan.manifest(), *heard));
      }
      continue;
    }
    const std::span<const std::byte> bytes = node == me ? round.mine : round.buffers[node];
    for (const Run& run : runs) {
      filling.plan.Scatter(heard->file, heard->first * checkpoint::kBlock + run.begin,
                           run.of(bytes), filling.into);
    }
  }
  return {};
}

Status ReadOnce::Fill(const Manifest& manifest, const Status& ready,
                      std::vector<link::StagedTensor> wanted, std::span<std::byte* const> into) {
  const auto plan = checkpoint::LoadPlan::Make(manifest, std::move(wanted));
  auto wants = CompareWants(ready.ok() ? plan.status() : ready,
                            plan.ok() ? plan->blocks() : BlockSet(manifest.blocks()));
  if (!wants.ok()) return std::move(wants).status();
  const std::uint32_t nodes = topology_.nodes();
  Filling filling{.plan = *plan, .into = into, .wants = *std::move(wants)};
  filling.turns.resize(nodes);
  // Large enough for a store, small enough for every node to have some.
  std::uint64_t most = 0;
  for (const BlockSet& want : filling.wants) most = std::max(most, want.size());
  const std::uint64_t blocks_max = std::clamp<std::uint64_t>(
      (most + nodes - 1) / nodes, 1,
      std::clamp<std::uint64_t>(kRoundMax / nodes, checkpoint::kBlock, kTurnMax) /
          checkpoint::kBlock);
  for (const ReadTurn& turn : checkpoint::DivideReads(manifest, filling.wants, blocks_max)) {
    filling.turns[turn.reader].push_back(turn);
  }
  std::size_t rounds = 0;
  for (const auto& of_node : filling.turns) rounds = std::max(rounds, of_node.size());
  // While one round's bytes travel, the next is read.
  Round slots[2];
  for (std::size_t round = 0; round <= rounds; ++round) {
    if (round < rounds) Begin(filling, round, slots[round % 2]);
    if (round == 0) continue;
    Status ended = End(filling, slots[(round - 1) % 2]);
    if (ended.ok()) continue;
    if (round < rounds) static_cast<void>(Await(slots[round % 2].transfers, sink_.patience()));
    return ended;
  }
  return filling.failed;
}

}  // namespace muster
