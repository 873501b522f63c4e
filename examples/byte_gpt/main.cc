// byte_gpt: trains a byte-level GPT data-parallel, the same bits on any number of ranks.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <thread>

#include "examples/byte_gpt/byte_model.h"
#include "examples/byte_gpt/console_posix.h"
#include "examples/byte_gpt/core_type_posix.h"
#include "examples/byte_gpt/digest_openssl.h"
#include "examples/byte_gpt/gemm.h"
#include "examples/byte_gpt/options.h"
#include "examples/byte_gpt/text_posix.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/comm/barrier_posix.h"
#include "runtime/comm/group_threads.h"
#include "runtime/train/memory_threads.h"
#include "runtime/train/stop_posix.h"
#include "runtime/train/trainer.h"

namespace muster {
namespace {

int Fail(const Status& status) {
  std::fprintf(stderr, "byte_gpt: %s\n", status.message().c_str());
  return status.code() == Code::kInvalid ? 2 : 1;
}

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
    std::printf(
        "%s",
        WriteLines(config, layout, trainer.parameters(), options.seed, options.sample).c_str());
  }
  if (options.hash) {
    const std::span parameters(trainer.parameters(), layout.elements());
    std::printf("parameters sha256 %s\n", Sha256(std::as_bytes(parameters)).c_str());
  }
  std::fflush(stdout);
}

Status TrainRank(const ByteGptOptions& options, const std::string& text, ProcessGroup& group,
                 Memory& memory, Place place) {
  const GptConfig config;
  ByteModel model(config, text, options.seed);
  Clock& clock = RealClock();
  Console console(group.rank() == 0, options.steps, clock);
  auto trainer = Trainer::Start(
      {.steps = options.steps,
       .stop_after = options.stop_after,
       .micro_batches = options.micro_batches,
       .seed = options.seed,
       .checkpoint_every = options.checkpoint_every,
       .facts = FactsOf(config, text)},
      {.model = model,
       .group = group,
       .memory = memory,
       .make_barrier = [](std::byte* bytes,
                          std::uint32_t ranks) { return NodeBarrier::In(bytes, ranks, 0); },
       .host = console,
       .clock = clock,
       .place = place});
  if (!trainer.ok()) return std::move(trainer).status();
  const TimePoint start = clock.Now();
  RETURN_IF_ERROR((*trainer)->Run());
  const double seconds = std::chrono::duration<double>(clock.Now() - start).count();
  if (group.rank() == 0) PrintEnd(options, config, **trainer, seconds);
  return group.barrier();  // Nobody leaves while the first rank reads the parameters.
}

Status TrainThreads(const ByteGptOptions& options, const std::string& text) {
  ThreadsRendezvous rendezvous(options.threads);
  ThreadsMemory memory;
  std::vector<Status> statuses(static_cast<std::size_t>(options.threads));
  {
    std::vector<std::jthread> ranks;
    for (int rank = 0; rank < options.threads; ++rank) {
      ranks.emplace_back([&, rank] {
        const auto group = MakeThreadsGroup(rendezvous, rank);
        statuses[static_cast<std::size_t>(rank)] =
            TrainRank(options, text, *group, memory, {.local_rank = rank});
      });
    }
  }
  for (const Status& status : statuses) RETURN_IF_ERROR(status);
  return {};
}

int Main(int argc, char** argv) {
  EnsureBlasCoreType(argv);
  CatchStopSignal();
  ByteGptOptions options;
  CLI::App app("Trains a byte-level GPT (834,304 parameters) on text.");
  app.add_option("--steps", options.steps, "Steps of the whole run")->capture_default_str();
  app.add_option("--stop-after", options.stop_after, "Stop after this step, as on SIGTERM");
  app.add_option("--seed", options.seed, "Seed of the start and of the data's order")
      ->capture_default_str();
  app.add_option("--micro-batches", options.micro_batches, "Micro-batches of a step")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  app.add_option("--data", options.data, "Text to train on: a file or a folder")
      ->capture_default_str();
  app.add_option("--threads", options.threads, "Ranks as threads of this process")
      ->check(CLI::Range(1, 1024));
  app.add_option("--sample", options.sample, "Lines to write at the end");
  app.add_flag("--hash", options.hash, "Print the SHA-256 of the final parameters");
  CLI11_PARSE(app, argc, argv);

  const GptConfig config;
  const auto text = LoadText(options.data);
  if (!text.ok()) return Fail(text.status());
  if (text->size() <= config.context) {
    return Fail(Status(Code::kInvalid, options.data + " has " + std::to_string(text->size()) +
                                           " bytes; a sequence needs " +
                                           std::to_string(config.context + 1)));
  }
  const Status status = TrainThreads(options, *text);
  return status.ok() ? 0 : Fail(status);
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  return muster::Main(argc, argv);
}
