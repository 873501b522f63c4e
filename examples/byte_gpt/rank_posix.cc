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
#include "runtime/train/sink_posix.h"
#include "runtime/train/trainer.h"

namespace muster {
namespace {

RunFacts FactsOf(const GptConfig& config, const std::string& text) {
  return {{"model", "byte_gpt layers " + std::to_string(config.layers) + " width " +
                        std::to_string(config.width) + " heads " + std::to_string(config.heads) +
                        " context " + std::to_string(config.context)},
          {"data_crc32c", checkpoint::CrcText(checkpoint::Crc32c(text))},
          {"data_bytes", std::to_string(text.size())},
          {"gemm_kernels", GemmKernelFamily()}};
}

void PrintEnd(const ByteGptOptions& options, const GptConfig& config, const Trainer& trainer,
              double seconds) {
  const Layout& layout = trainer.layout();
  const double tokens = static_cast<double>((trainer.step() - trainer.first_step()) *
                                            options.micro_batches * config.context);
  std::printf("%s after step %llu: loss ema %.4f, %.0f tokens/s\n",
              trainer.stopped() ? "stopped" : "done",
              static_cast<unsigned long long>(trainer.step()), trainer.loss_ema(),
              seconds > 0 ? tokens / seconds : 0);
  if (options.sample > 0) {
    const std::string lines =
        WriteLines(config, layout, trainer.parameters(), options.seed, options.sample);
    std::printf("%s", lines.c_str());
  }
  if (options.hash) {
    const std::span parameters(trainer.parameters(), layout.elements());
    std::printf("parameters sha256 %s\n", Sha256(std::as_bytes(parameters)).c_str());
  }
  std::fflush(stdout);
}

}  // namespace

Status TrainRank(const ByteGptOptions& options, const std::string& text, const RankParts& parts) {
  const GptConfig config;
  ByteModel model(config, text, options.seed);
  Clock& clock = RealClock();
  Console console(parts.group.rank() == 0, options.steps, clock, parts.link);
  if (parts.group.rank() == 0 && !options.step_log.empty()) {
    auto file = OpenStepLog(options.step_log);
    if (!file.ok()) return std::move(file).status();
    console.WriteStepLog(*std::move(file), parts.attempt);
  }
  const auto make_barrier = [&parts](std::byte* memory, std::uint32_t ranks) {
    return NodeBarrier::In(memory, ranks, parts.attempt);
  };
  auto trainer = Trainer::Start({.steps = options.steps,
                                 .stop_after = options.stop_after,
                                 .micro_batches = options.micro_batches,
                                 .seed = options.seed,
                                 .from_memory = options.resume == "memory",
                                 .checkpoints = parts.checkpoints,
                                 .first_node_saves = parts.link == nullptr,
                                 .checkpoint_every = options.checkpoint_every,
                                 .facts = FactsOf(config, text)},
                                {.model = model,
                                 .group = parts.group,
                                 .memory = parts.memory,
                                 .make_barrier = make_barrier,
                                 .sink = parts.sink,
                                 .host = console,
                                 .clock = clock,
                                 .place = parts.place,
                                 .recorder = parts.recorder});
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
