#include <algorithm>
#include <limits>

#include "runtime/base/check.h"
#include "runtime/train/restore.h"
#include "runtime/train/trainer.h"

namespace muster {
namespace {

constexpr int kStateTag = 1 << 20;  // Behind the reducer's.

std::string OfStep(std::uint64_t step) {
  return "step " + std::to_string(step);
}

Status CouldNotStart(std::int64_t rank) {
  return Status(Code::kAborted, "rank " + std::to_string(rank) + " could not start");
}

}  // namespace

Trainer::Trainer(TrainOptions options, Parts parts, Layout layout, Topology topology)
    : options_(std::move(options)),
      parts_(std::move(parts)),
      layout_(std::move(layout)),
      topology_(std::move(topology)),
      shards_(layout_, topology_.nodes(), options_.zero1),
      facts_(FactsOf(options_, layout_.elements())) {}

Result<std::unique_ptr<Trainer>> Trainer::Start(TrainOptions options, Parts parts) {
  RETURN_IF_ERROR(Check(options));
  std::vector<Place> places(static_cast<std::size_t>(parts.group.world_size()));
  RETURN_IF_ERROR(parts.group.all_gather(std::as_bytes(std::span(&parts.place, 1)),
                                         std::as_writable_bytes(std::span(places))));
  auto topology = Topology::Make(places, parts.group.rank(),
                                 options.micro_batches * options.accumulate, options.deterministic);
  if (!topology.ok()) return std::move(topology).status();
  if (options.zero1 && topology->nodes() > 1 && options.checkpoints && options.first_node_saves) {
    return Status(Code::kInvalid,
                  "with ZeRO-1 each of the " + std::to_string(topology->nodes()) +
                      " nodes saves its own part of the optimizer's state, but only the first node "
                      "is to save: run under muster with --checkpoint-store, on one node, or "
                      "without ZeRO-1");
  }
  Layout layout(parts.model.Tensors());
  std::unique_ptr<Trainer> trainer(
      new Trainer(std::move(options), std::move(parts), std::move(layout), *std::move(topology)));
  RETURN_IF_ERROR(trainer->Restore(trainer->OpenMemory()));
  return trainer;
}

Status Trainer::OpenMemory() {
  const bool bf16 = options_.precision == Precision::kBF16;
  // Its size depends on the shape of the attempt, so its name does, too.
  const std::size_t gradient_bytes = GradientView::Bytes(layout_, topology_, bf16);
  auto gradients = parts_.memory.Get("gradients." + std::to_string(gradient_bytes), gradient_bytes);
  if (!gradients.ok()) return std::move(gradients).status().While("memory for gradients");
  const Range shard = shards_.Of(topology_.node());
  const std::size_t state_bytes = StateView::Bytes(layout_, shard);
  const std::string suffix = shards_.sharded() ? "." + std::to_string(state_bytes) : "";
  auto state = parts_.memory.Get("state" + suffix, state_bytes);
  if (!state.ok()) return std::move(state).status().While("memory for parameters");
  gradients_ = GradientView(gradients->bytes, layout_, topology_, bf16);
  state_ = StateView(state->bytes, layout_, shard);
  barrier_ = parts_.make_barrier(gradients_.barrier(), topology_.local_size());
  reducer_.emplace(layout_, topology_, gradients_, parts_.group, shards_);
  pass_.emplace(GradientPass::Parts{.model = parts_.model,
                                    .layout = layout_,
                                    .topology = topology_,
                                    .gradients = gradients_,
                                    .recorder = recorder_,
                                    .clock = parts_.clock,
                                    .round_to_bf16 = bf16});
  if (overlapped()) parts_.overlap->Open(gradients_.lines(), topology_.local_rank());
  return OpenStager();
}

Status Trainer::OpenStager() {
  if (!options_.checkpoints) return {};
  CHECK(!leader() || parts_.sink != nullptr);
  if (options_.first_node_saves && topology_.node() != 0) return {};
  const bool alone = options_.first_node_saves;
  CheckpointShard shard = shards_.sharded() ? ShardOfRange(layout_, shards_.Of(topology_.node()))
                                            : EvenShard(layout_, alone ? 0 : topology_.node(),
                                                        alone ? 1 : topology_.nodes());
  auto stager = CheckpointStager::Open(std::move(shard), topology_, parts_.memory,
                                       leader() ? parts_.sink : nullptr);
  if (!stager.ok()) return std::move(stager).status();
  stager_.emplace(*std::move(stager));
  return {};
}

std::uint64_t Trainer::MemoryFingerprint() const {
  RunFacts facts = facts_;
  if (shards_.sharded()) {
    facts["shard"] = std::to_string(topology_.node()) + " of " + std::to_string(topology_.nodes());
  }
  return Fingerprint(facts);
}

std::int64_t Trainer::StepInMemory() const {
  const StateHeader& header = state_.header();
  const StateWord word = StateWord::Decode(header.word.load(std::memory_order_acquire));
  const bool whole = options_.from_memory && header.magic == StateHeader::kMagic &&
                     header.fingerprint == MemoryFingerprint() &&
                     word.kind == StateWord::Kind::kStable && word.step <= options_.steps;
  return whole ? static_cast<std::int64_t>(word.step) : -1;
}

// What each rank tells the others before anything is restored.
struct Trainer::Standing {
  std::int64_t step = -1;  // In its node's memory.
  // What it left in the memory that it shares with its node.
  std::uint64_t greeting = 0;
};

Result<std::vector<Trainer::Standing>> Trainer::Compare(const Status& opened) {
  constexpr std::int64_t kFailed = -2;
  Standing mine{.step = opened.ok() ? StepInMemory() : kFailed};
  if (opened.ok()) {
    // Of this moment: what an earlier attempt left is another.
    const auto now = parts_.clock.Now().time_since_epoch().count();
    mine.greeting = (static_cast<std::uint64_t>(now) << 12U) +
                    static_cast<std::uint64_t>(parts_.group.rank()) + 1;
    gradients_.greetings()[topology_.local_rank()] = mine.greeting;
  }
  std::vector<Standing> by_rank(static_cast<std::size_t>(parts_.group.world_size()));
  RETURN_IF_ERROR(parts_.group.all_gather(std::as_bytes(std::span(&mine, 1)),
                                          std::as_writable_bytes(std::span(by_rank))));
  RETURN_IF_ERROR(opened);
  const auto failed = std::find_if(by_rank.begin(), by_rank.end(),
                                   [](const Standing& s) { return s.step == kFailed; });
  if (failed != by_rank.end()) return CouldNotStart(failed - by_rank.begin());
  return by_rank;
}

Status Trainer::CheckShared(const std::vector<Standing>& by_rank) const {
  for (std::uint32_t r = 0; r < topology_.local_size(); ++r) {
    const int rank = topology_.RankAt(topology_.node(), r);
    const std::uint64_t left = by_rank[static_cast<std::size_t>(rank)].greeting;
    if (gradients_.greetings()[r] == left) continue;
    return Status(Code::kInvalid,
                  "ranks " + std::to_string(topology_.rank()) + " and " + std::to_string(rank) +
                      " both say that they run on node " + std::to_string(topology_.node()) +
                      ", but they share no memory: give ranks of different hosts (or of "
                      "containers with a /dev/shm each) different node ranks");
  }
  return {};
}

Status Trainer::Restore(const Status& opened) {
  // Few collectives: each waits for the rank that is last.
  if (opened.ok()) Report(link::Phase::kRestoring);
  const auto by_rank = Compare(opened);
  if (!by_rank.ok()) return by_rank.status();
  std::vector<std::int64_t> by_node;
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    by_node.push_back((*by_rank)[static_cast<std::size_t>(topology_.RankAt(node, 0))].step);
  }
  const RestorePlan plan = DecideRestore(by_node, shards_.sharded());
  std::string how;
  Status status;
  if (plan.from == RestorePlan::From::kMemory) {
    how = "restored " + OfStep(plan.step) + " from memory";
    if (leader() && !plan.everywhere) status = RestoreFromMemory(plan.node, plan.step);
  } else if (leader()) {
    Result<std::string> restored = RestoreFromCommitOrStart();
    if (restored.ok()) {
      how = *std::move(restored);
    } else {
      status = std::move(restored).status();
    }
  }
  // After what others wait for: the rank that finds no memory of its node ends all in AgreeOnStep.
  if (status.ok()) status = CheckShared(*by_rank);
  RETURN_IF_ERROR(AgreeOnStep(status));
  first_step_ = step_;
  RETURN_IF_ERROR(MakeWorkingCopy());
  const bool first = leader() && topology_.node() == 0;
  if (first) parts_.host.Say(how);
  Report(link::Phase::kTraining, first ? how : "");
  return {};
}

Status Trainer::MakeWorkingCopy() {
  if (gradients_.working_copy() == nullptr) return {};
  if (leader()) CopyForModel({.begin = 0, .end = layout_.elements()});
  return barrier_->Wait();
}

Status Trainer::AgreeOnStep(const Status& restored) {
  // The leader says where its node stands; the others cannot know yet.
  constexpr auto kNothing = std::numeric_limits<std::int64_t>::min();
  const std::int64_t rank = parts_.group.rank();
  const StateWord word = StateWord::Decode(state_.header().word.load(std::memory_order_acquire));
  const auto step = static_cast<std::int64_t>(word.step);
  std::int64_t most[] = {restored.ok() ? -1 : rank, leader() ? step : kNothing,
                         leader() ? -step : kNothing};
  RETURN_IF_ERROR(parts_.group.all_reduce(std::span(most), ReduceOp::kMax));
  RETURN_IF_ERROR(restored);
  if (most[0] >= 0) return CouldNotStart(most[0]);
  if (most[1] != -most[2]) {
    return Status(Code::kDataLoss, "the nodes loaded checkpoints of different steps: " +
                                       OfStep(static_cast<std::uint64_t>(-most[2])) + " and " +
                                       OfStep(static_cast<std::uint64_t>(most[1])));
  }
  step_ = static_cast<std::uint64_t>(most[1]);
  return {};
}

Status Trainer::RestoreFromMemory(std::uint32_t source, std::uint64_t step) {
  StateHeader& header = state_.header();
  const bool sends = topology_.node() == source;
  if (!sends) header.Set(StateWord::Kind::kNone, 0);
  // Leaders only; a broadcast among them by sends, since the group has all ranks.
  std::vector<std::unique_ptr<Work>> works;
  const auto move = [&](std::span<std::byte> bytes, int tag) {
    if (!sends) {
      works.push_back(
          parts_.group.start(Collective::Recv(bytes, topology_.RankAt(source, 0), tag)));
      return;
    }
    for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
      if (node == source) continue;
      works.push_back(parts_.group.start(Collective::Send(bytes, topology_.RankAt(node, 0), tag)));
    }
  };
  struct Words {
    double loss_ema, loss_scale;
    std::uint64_t good_steps, skipped;
  } words{.loss_ema = header.loss_ema,
          .loss_scale = header.loss_scale,
          .good_steps = header.good_steps,
          .skipped = header.skipped};
  move(std::as_writable_bytes(std::span(&words, 1)), kStateTag);
  move(state_.body(), kStateTag + 1);
  for (const auto& work : works) RETURN_IF_ERROR(work->wait());
  if (sends) return {};
  header.magic = StateHeader::kMagic;
  header.fingerprint = MemoryFingerprint();
  header.loss_ema = words.loss_ema;
  header.loss_scale = words.loss_scale;
  header.good_steps = words.good_steps;
  header.skipped = words.skipped;
  header.Set(StateWord::Kind::kStable, step);
  return {};
}

Result<std::string> Trainer::RestoreFromCommitOrStart() {
  StateHeader& header = state_.header();
  header.Set(StateWord::Kind::kNone, 0);
  header.magic = StateHeader::kMagic;
  header.fingerprint = MemoryFingerprint();
  header.loss_ema = 0;
  header.loss_scale = Begin(options_.loss_scaling).scale;
  header.good_steps = 0;
  header.skipped = 0;
  std::optional<checkpoint::Manifest> manifest;
  if (options_.checkpoints) {
    ReadOnce load(parts_.group, topology_, *parts_.sink);
    auto opened = load.Open();
    if (!opened.ok()) return std::move(opened).status().While("loading a checkpoint");
    manifest = *std::move(opened);
    if (manifest) RETURN_IF_ERROR(RestoreFromCommit(load, *manifest));
  }
  if (!manifest) {
    for (const ArrayPart& array : state_.arrays()) {
      std::fill_n(array.values, array.range.size(), 0.0F);
    }
    parts_.model.Initialize(options_.seed, layout_, state_.parameters());
    header.Set(StateWord::Kind::kStable, 0);
    return "started from seed " + std::to_string(options_.seed);
  }
  return "restored " + OfStep(manifest->save().step) + " from a commit";
}

Status Trainer::RestoreFromCommit(ReadOnce& load, const checkpoint::Manifest& manifest) {
  const auto host = DecodeHostState(std::string(manifest.Member(checkpoint::kMemberHostState)));
  Status ready = host.ok() ? CheckSameRun(host->facts, facts_) : host.status();
  if (ready.ok()) ready = CheckSameModel(manifest, layout_);
  RestoreTargets targets = TargetsOf(layout_, state_.arrays());
  Status filled = load.Fill(manifest, ready, std::move(targets.boxes), targets.into);
  if (!filled.ok()) return ready.ok() ? std::move(filled).While("loading a checkpoint") : ready;
  StateHeader& header = state_.header();
  header.loss_ema = host->loss_ema;
  header.skipped = host->skipped;
  if (options_.loss_scaling.dynamic) {
    header.loss_scale = host->loss_scale;
    header.good_steps = host->good_steps;
  }
  header.Set(StateWord::Kind::kStable, host->step);
  return {};
}

}  // namespace muster
