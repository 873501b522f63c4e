#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <new>

#include "runtime/base/check.h"
#include "runtime/train/restore.h"
#include "runtime/train/trainer.h"

namespace muster {
namespace {

constexpr int kStateTag = 1 << 20;  // Behind the reducer's.

std::string Shortest(double value) {
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), value).ptr;
  return {text.data(), end};
}

RunFacts AllFacts(const TrainOptions& options, const Layout& layout) {
  RunFacts facts = options.facts;
  const OptimizerConfig& o = options.optimizer;
  facts["seed"] = std::to_string(options.seed);
  facts["steps"] = std::to_string(options.steps);
  facts["micro_batches"] = std::to_string(options.micro_batches);
  facts["parameters"] = std::to_string(layout.elements());
  facts["optimizer"] = "AdamW lr " + Shortest(o.learning_rate) + " betas " + Shortest(o.beta1) +
                       " " + Shortest(o.beta2) + " eps " + Shortest(o.epsilon) + " decay " +
                       Shortest(o.weight_decay) + " clip " + Shortest(o.clip_norm) + " warm-up " +
                       std::to_string(o.warmup_steps) + " final " + Shortest(o.final_fraction);
  return facts;
}

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
      facts_(AllFacts(options_, layout_)),
      accumulate_(PlanAccumulation(topology_.RunOfLocal(topology_.node(), topology_.local_rank()),
                                   topology_.micro_batches())) {}

Result<std::unique_ptr<Trainer>> Trainer::Start(TrainOptions options, Parts parts) {
  std::vector<Place> places(static_cast<std::size_t>(parts.group.world_size()));
  RETURN_IF_ERROR(parts.group.all_gather(std::as_bytes(std::span(&parts.place, 1)),
                                         std::as_writable_bytes(std::span(places))));
  auto topology = Topology::Make(places, parts.group.rank(), options.micro_batches);
  if (!topology.ok()) return std::move(topology).status();
  Layout layout(parts.model.Tensors());
  std::unique_ptr<Trainer> trainer(
      new Trainer(std::move(options), std::move(parts), std::move(layout), *std::move(topology)));
  RETURN_IF_ERROR(trainer->Restore(trainer->OpenMemory()));
  return trainer;
}

Status Trainer::OpenMemory() {
  // Its size depends on the shape of the attempt, so its name does, too.
  const std::size_t gradient_bytes = GradientView::Bytes(layout_, topology_);
  auto gradients = parts_.memory.Get("gradients." + std::to_string(gradient_bytes), gradient_bytes);
  if (!gradients.ok()) return std::move(gradients).status().While("memory for gradients");
  auto state = parts_.memory.Get("state", StateView::Bytes(layout_));
  if (!state.ok()) return std::move(state).status().While("memory for parameters");
  gradients_ = GradientView(gradients->bytes, layout_, topology_);
  state_ = StateView(state->bytes, layout_);
  barrier_ = parts_.make_barrier(gradients_.barrier(), topology_.local_size());
  reducer_.emplace(layout_, topology_, gradients_, parts_.group);
  if (!options_.checkpoints) return {};
  CHECK(!leader() || parts_.sink != nullptr);
  if (options_.first_node_saves && topology_.node() != 0) return {};
  auto stager = CheckpointStager::Open(layout_, topology_, parts_.memory,
                                       leader() ? parts_.sink : nullptr, options_.first_node_saves);
  if (!stager.ok()) return std::move(stager).status();
  stager_.emplace(*std::move(stager));
  return {};
}

std::int64_t Trainer::StepInMemory() const {
  const StateHeader& header = state_.header();
  const StateWord word = StateWord::Decode(header.word.load(std::memory_order_acquire));
  const bool whole = options_.from_memory && header.magic == StateHeader::kMagic &&
                     header.fingerprint == Fingerprint(facts_) &&
                     word.kind == StateWord::Kind::kStable && word.step <= options_.steps;
  return whole ? static_cast<std::int64_t>(word.step) : -1;
}

Status Trainer::Restore(const Status& opened) {
  // Few collectives: each waits for the rank that is last.
  constexpr std::int64_t kFailed = -2;
  if (opened.ok()) Report(link::Phase::kRestoring);
  const std::int64_t mine = opened.ok() ? StepInMemory() : kFailed;
  std::vector<std::int64_t> by_rank(static_cast<std::size_t>(parts_.group.world_size()));
  RETURN_IF_ERROR(parts_.group.all_gather(std::as_bytes(std::span(&mine, 1)),
                                          std::as_writable_bytes(std::span(by_rank))));
  RETURN_IF_ERROR(opened);
  const auto failed = std::find(by_rank.begin(), by_rank.end(), kFailed);
  if (failed != by_rank.end()) return CouldNotStart(failed - by_rank.begin());
  std::vector<std::int64_t> by_node;
  for (std::uint32_t node = 0; node < topology_.nodes(); ++node) {
    by_node.push_back(by_rank[static_cast<std::size_t>(topology_.RankAt(node, 0))]);
  }
  const RestorePlan plan = DecideRestore(by_node);
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
  RETURN_IF_ERROR(AgreeOnStep(status));
  first_step_ = step_;
  const bool first = leader() && topology_.node() == 0;
  if (first) parts_.host.Say(how);
  Report(link::Phase::kTraining, first ? how : "");
  return {};
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
  double ema = header.loss_ema;
  move(std::as_writable_bytes(std::span(&ema, 1)), kStateTag);
  move(state_.body(), kStateTag + 1);
  for (const auto& work : works) RETURN_IF_ERROR(work->wait());
  if (sends) return {};
  header.magic = StateHeader::kMagic;
  header.fingerprint = Fingerprint(facts_);
  header.loss_ema = ema;
  header.Set(StateWord::Kind::kStable, step);
  return {};
}

Result<std::string> Trainer::RestoreFromCommitOrStart() {
  StateHeader& header = state_.header();
  header.Set(StateWord::Kind::kNone, 0);
  header.magic = StateHeader::kMagic;
  header.fingerprint = Fingerprint(facts_);
  header.loss_ema = 0;
  std::optional<LoadedCheckpoint> loaded;
  if (options_.checkpoints) {
    auto answer = parts_.sink->Load();
    if (!answer.ok()) return std::move(answer).status().While("loading a checkpoint");
    loaded = *std::move(answer);
  }
  if (!loaded) {
    std::fill_n(state_.array(0), 3 * layout_.elements(), 0.0F);
    parts_.model.Initialize(options_.seed, layout_, state_.parameters());
    header.Set(StateWord::Kind::kStable, 0);
    return "started from seed " + std::to_string(options_.seed);
  }
  auto host = DecodeHostState(loaded->host_state);
  if (!host.ok()) return std::move(host).status();
  RETURN_IF_ERROR(CheckSameRun(host->facts, facts_));
  float* const arrays[] = {state_.array(0), state_.array(1), state_.array(2)};
  RETURN_IF_ERROR(RestoreTensors(*loaded, layout_, arrays));
  header.loss_ema = host->loss_ema;
  header.Set(StateWord::Kind::kStable, host->step);
  return "restored " + OfStep(host->step) + " from a commit";
}

}  // namespace muster
