#include "examples/byte_gpt/rank_posix.h"

#include <cstdio>
#include <thread>
#include <vector>

#include "examples/byte_gpt/byte_model.h"
#include "examples/byte_gpt/console_posix.h"
#include "examples/byte_gpt/digest_openssl.h"
#include "examples/byte_gpt/gemm.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/comm/barrier_posix.h"
#include "runtime/comm/group_threads.h"
#include "runtime/train/memory_threads.h"
#include "runtime/train/overlap_posix.h"
#include "runtime/train/sink_posix.h"
#include "runtime/train/trainer.h"

namespace muster {

RunFacts FactsOf(const ByteGptOptions& options, const GptConfig& config, const std::string& text) {
  RunFacts facts = {
      {"model", "byte_gpt layers " + std::to_string(config.layers) + " width " +
                    std::to_string(config.width) + " heads " + std::to_string(config.heads) +
                    " context " + std::to_string(config.context)},
      {"data_crc32c", checkpoint::CrcText(checkpoint::Crc32c(text))},
      {"data_bytes", std::to_string(text.size())}};
  // What is as it always was, older checkpoints do not name.
  if (config.vocabulary != GptConfig().vocabulary) {
    facts["model"] += " vocabulary " + std::to_string(config.vocabulary);
  }
  if (options.sequences > 1) facts["sequences"] = std::to_string(options.sequences);
  return facts;
}

void PrintTail(const ByteGptOptions& options, const GptConfig& config, const Layout& layout,
               const float* parameters) {
  if (options.sample > 0) {
    std::printf("%s", WriteLines(config, layout, parameters, options.seed, options.sample).c_str());
  }
  if (options.hash) {
    const std::span values(parameters, layout.elements());
    std::printf("parameters sha256 %s\n", Sha256(std::as_bytes(values)).c_str());
  }
  std::fflush(stdout);
}

namespace {

void PrintTimes(const Trainer& trainer) {
  const StepTimes times = trainer.times();
  if (times.steps == 0) return;
  const auto ms = [&times](Duration all) {
    return std::chrono::duration<double, std::milli>(all).count() /
           static_cast<double>(times.steps);
  };
  std::printf(
      "ms a step: forward %.3f, backward %.3f, communication %.3f of which %.3f not hidden, "
      "optimizer %.3f\n",
      ms(times.forward), ms(times.backward), ms(times.communication), ms(times.exposed),
      ms(times.optimizer));
  if (trainer.skipped() > 0) {
    std::printf("%llu steps were skipped\n", static_cast<unsigned long long>(trainer.skipped()));
  }
}

void PrintEnd(const ByteGptOptions& options, const GptConfig& config, const Trainer& trainer,
              double seconds) {
  const Layout& layout = trainer.layout();
  const std::uint64_t steps = trainer.step() - trainer.first_step();
  const double tokens = static_cast<double>(steps * trainer.topology().micro_batches() *
                                            options.sequences * config.context);
  std::printf("%s after step %llu: loss ema %.4f, %.0f tokens/s\n",
              trainer.stopped() ? "stopped" : "done",
              static_cast<unsigned long long>(trainer.step()), trainer.loss_ema(),
              seconds > 0 ? tokens / seconds : 0);
  PrintTimes(trainer);
  PrintTail(options, config, layout, trainer.parameters());
}

}  // namespace

Status TrainRank(const ByteGptOptions& options, const std::string& text, const RankParts& parts) {
  const auto parsed = ToGptConfig(options);
  if (!parsed.ok()) return parsed.status();
  const GptConfig config = *parsed;
  ByteModel model(config, text, options.seed, options.sequences);
  Clock& clock = RealClock();
  Console console(parts.group.rank() == 0, options.steps, clock, parts.link);
  if (parts.group.rank() == 0 && !options.step_log.empty()) {
    auto file = OpenStepLog(options.step_log);
    if (!file.ok()) return std::move(file).status();
    console.WriteStepLog(*std::move(file), parts.attempt);
  }
  auto train = ToTrainOptions(options);
  if (!train.ok()) return std::move(train).status();
  train->checkpoints = parts.checkpoints;
  train->first_node_saves = parts.link == nullptr;
  train->facts = FactsOf(options, config, text);
  train->facts["gemm_kernels"] = GemmKernelFamily();
  CommunicationOverlap overlap;
  const auto make_barrier = [&parts](std::byte* memory, std::uint32_t ranks) {
    return NodeBarrier::In(memory, ranks, parts.attempt);
  };
  auto trainer =
      Trainer::Start(*std::move(train), {.model = model,
                                         .group = parts.group,
                                         .memory = parts.memory,
                                         .make_barrier = make_barrier,
                                         .sink = parts.sink,
                                         .host = console,
                                         .clock = clock,
                                         .place = parts.place,
                                         .recorder = parts.recorder,
                                         .overlap = options.no_overlap ? nullptr : &overlap});
  if (!trainer.ok()) return std::move(trainer).status();
  const TimePoint start = clock.Now();
  RETURN_IF_ERROR((*trainer)->Run());
  const double seconds = std::chrono::duration<double>(clock.Now() - start).count();
  if (parts.group.rank() == 0) PrintEnd(options, config, **trainer, seconds);
  return parts.group.barrier();  // Nobody leaves while the first rank reads the parameters.
}

Status TrainThreads(const ByteGptOptions& options, const std::string& text) {
  auto sink = OpenDirectSink(options, 0);
  if (!sink.ok()) return std::move(sink).status();
  ThreadsRendezvous rendezvous(options.threads);
  ThreadsMemory memory;
  std::vector<Status> statuses(static_cast<std::size_t>(options.threads));
  {
    std::vector<std::jthread> ranks;
    for (int rank = 0; rank < options.threads; ++rank) {
      ranks.emplace_back([&, rank] {
        const auto group = MakeThreadsGroup(rendezvous, rank);
        statuses[static_cast<std::size_t>(rank)] = TrainRank(options, text,
                                                             {.group = *group,
                                                              .memory = memory,
                                                              .checkpoints = *sink != nullptr,
                                                              .sink = sink->get(),
                                                              .place = {.local_rank = rank}});
      });
    }
  }
  for (const Status& status : statuses) RETURN_IF_ERROR(status);
  return {};
}

Result<std::unique_ptr<CheckpointSink>> OpenDirectSink(const ByteGptOptions& options,
                                                       std::int32_t node) {
  if (options.checkpoint_dir.empty()) return std::unique_ptr<CheckpointSink>();
  if (node > 0) return DirectSink::OpenToLoad(options.checkpoint_dir, options.run);
  return DirectSink::Open(options.checkpoint_dir, options.run);
}

}  // namespace muster
