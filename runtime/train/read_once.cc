#include "runtime/train/read_once.h"

#include <algorithm>
#include <memory>
#include <string>

#include "runtime/checkpoint/crc32c.h"

namespace muster {
namespace {

using checkpoint::BlockSet;
using checkpoint::Manifest;
using checkpoint::ReadTurn;

constexpr int kTag = (1 << 20) + 16;                            // Behind those of trainer_start.cc.
constexpr std::uint64_t kRoundMax = std::uint64_t{128} << 20U;  // Bytes that a node hears in one.
constexpr std::uint64_t kTurnMax = std::uint64_t{16} << 20U;

using Works = std::vector<std::unique_ptr<Work>>;

Status WaitAll(Works& works) {
  Status first;
  for (const auto& work : works) {
    Status ended = work->wait();
    if (first.ok()) first = std::move(ended);
  }
  return first;
}

template <typename T>
std::span<const std::byte> BytesOf(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}
template <typename T>
std::span<std::byte> WritableBytesOf(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

struct Heading {
  std::uint64_t failed = 0, found = 0, bytes = 0;
};

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

Result<std::optional<Manifest>> ReadOnce::Open() {
  if (topology_.node() != 0) return HearManifest();
  auto opened = sink_.OpenNewest();
  const bool found = opened.ok() && opened->has_value();
  const Status told =
      TellManifest(opened.status(), found ? (*opened)->bytes() : std::span<const std::byte>());
  if (!opened.ok()) return opened;
  RETURN_IF_ERROR(told);
  return opened;
}

Status ReadOnce::TellManifest(const Status& opened, std::span<const std::byte> bytes) {
  const Heading heading{
      .failed = opened.ok() ? 0U : 1U, .found = bytes.empty() ? 0U : 1U, .bytes = bytes.size()};
  Works works;
  for (std::uint32_t node = 1; node < topology_.nodes(); ++node) {
    works.push_back(group_.start(Collective::Send(BytesOf(heading), Leader(node), kTag)));
    if (bytes.empty()) continue;
    works.push_back(group_.start(Collective::Send(bytes, Leader(node), kTag + 1)));
  }
  return WaitAll(works);
}

Result<std::optional<Manifest>> ReadOnce::HearManifest() {
  Heading heading;
  RETURN_IF_ERROR(
      group_.start(Collective::Recv(WritableBytesOf(heading), Leader(0), kTag))->wait());
  if (heading.failed != 0) {
    return Status(Code::kUnavailable, "node 0 could not open the newest checkpoint");
  }
  if (heading.found == 0) return std::optional<Manifest>();
  const auto words = std::make_shared<std::vector<std::uint64_t>>((heading.bytes + 7) / 8);
  const auto bytes = std::as_writable_bytes(std::span(*words)).first(heading.bytes);
  RETURN_IF_ERROR(group_.start(Collective::Recv(bytes, Leader(0), kTag + 1))->wait());
  auto manifest = Manifest::Parse(bytes, words);
  if (!manifest.ok()) return std::move(manifest).status();
  return std::optional(*std::move(manifest));
}

// What every node wants; an error of any of them is everybody's.
Result<std::vector<BlockSet>> ReadOnce::CompareWants(const Status& mine, const BlockSet& blocks) {
  const std::uint32_t nodes = topology_.nodes();
  std::vector<std::vector<std::uint64_t>> words(nodes);
  for (auto& of_node : words) of_node.resize(blocks.words().size() + 1);
  auto& own = words[topology_.node()];
  own[0] = mine.ok() ? 0 : 1;
  std::copy(blocks.words().begin(), blocks.words().end(), own.begin() + 1);
  Works works;
  for (std::uint32_t node = 0; node < nodes; ++node) {
    if (node == topology_.node()) continue;
    works.push_back(
        group_.start(Collective::Send(std::as_bytes(std::span(own)), Leader(node), kTag + 2)));
    works.push_back(group_.start(
        Collective::Recv(std::as_writable_bytes(std::span(words[node])), Leader(node), kTag + 2)));
  }
  const Status told = WaitAll(works);
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

struct ReadOnce::Filling {
  const checkpoint::LoadPlan& plan;
  std::span<std::byte* const> into;
  std::vector<BlockSet> wants;
  Turns turns;
  std::vector<std::vector<std::byte>> buffers;  // By node: what is heard from it in a round.
  Status failed;                                // The first failure of this node.
};

Status ReadOnce::Round(Filling& filling, std::size_t round) {
  const Manifest& manifest = filling.plan.manifest();
  const std::uint32_t me = topology_.node();
  const auto turn_of = [&](std::uint32_t node) {
    return round < filling.turns[node].size() ? &filling.turns[node][round] : nullptr;
  };
  const auto wants = [&](std::uint32_t node, const ReadTurn& turn) {
    return filling.wants[node].HasAny(manifest.file(turn.file).first_block + turn.first,
                                      turn.blocks);
  };
  const auto bytes_of = [&](const ReadTurn& turn) {
    const std::uint64_t begin = turn.first * checkpoint::kBlock;
    return std::min(turn.blocks * checkpoint::kBlock, manifest.file(turn.file).size - begin);
  };
  // Receives first, so that nobody's bytes wait for this node's store.
  Works works;
  std::vector<std::uint64_t> sound(topology_.nodes());
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    const ReadTurn* turn = turn_of(node);
    if (node == me || turn == nullptr || !wants(me, *turn)) continue;
    filling.buffers[node].resize(bytes_of(*turn));
    works.push_back(
        group_.start(Collective::Recv(WritableBytesOf(sound[node]), Leader(node), kTag + 3)));
    works.push_back(group_.start(Collective::Recv(filling.buffers[node], Leader(node), kTag + 4)));
  }
  std::span<const std::byte> mine;
  const ReadTurn* turn = turn_of(me);
  if (turn != nullptr) {
    if (filling.failed.ok()) {
      auto read = sink_.Read(manifest.save(), manifest.file(turn->file), turn->first, turn->blocks);
      if (read.ok()) mine = *read;
      if (!read.ok()) filling.failed = std::move(read).status();
    }
    sound[me] = filling.failed.ok() ? 1 : 0;
    if (!filling.failed.ok()) {
      filling.buffers[me].resize(bytes_of(*turn));
      mine = filling.buffers[me];
    }
    for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
      if (node == me || !wants(node, *turn)) continue;
      works.push_back(group_.start(Collective::Send(BytesOf(sound[me]), Leader(node), kTag + 3)));
      works.push_back(group_.start(Collective::Send(mine, Leader(node), kTag + 4)));
    }
  }
  RETURN_IF_ERROR(WaitAll(works));
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    const ReadTurn* heard = turn_of(node);
    if (heard == nullptr || !wants(me, *heard)) continue;
    if (sound[node] == 0) {
      if (filling.failed.ok()) {
        filling.failed =
            Status(Code::kAborted, "node " + std::to_string(node) + " could not read " +
                                       std::string(manifest.file(heard->file).name));
      }
      continue;
    }
    filling.plan.Scatter(heard->file, heard->first * checkpoint::kBlock,
                         node == me ? mine : filling.buffers[node], filling.into);
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
  filling.buffers.resize(nodes);
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
  for (std::size_t round = 0; round < rounds; ++round) {
    RETURN_IF_ERROR(Round(filling, round));
  }
  return filling.failed;
}

}  // namespace muster
