#include "examples/byte_gpt/rank_gpu_threads.h"

#include <cstdio>
#include <memory>
#include <thread>
#include <vector>

#include "examples/byte_gpt/console_posix.h"
#include "examples/byte_gpt/gpt_cuda.h"
#include "examples/byte_gpt/rank_posix.h"
#include "runtime/comm/abort_flag.h"
#include "runtime/comm/group_nccl.h"
#include "runtime/comm/kv_threads.h"
#include "runtime/train/flight_recorder.h"
#include "runtime/train/gpu_trainer_cuda.h"
#include "runtime/train/link_kv_posix.h"
#include "runtime/train/memory_posix.h"
#include "runtime/train/memory_threads.h"
#include "runtime/train/sink_posix.h"

namespace muster {
namespace {

// One rank's world.
struct GpuRank {
  int rank = 0;
  int ranks = 1;
  Place place;
  std::shared_ptr<KeyValueStore> store;
  Memory& memory;
  CheckpointSink* sink = nullptr;
  bool checkpoints = false;
  RankLink* link = nullptr;
  std::uint32_t attempt = 0;
  AbortFlag* failed = nullptr;  // Of a rank that is a thread beside this one.
  Recorder* recorder = nullptr;
};

// Counted without a context on any: one on GPU 0 for each rank would cost its memory.
Result<int> CountDevices() {
  const auto cuda = CudaLibrary::Load();
  if (!cuda.ok()) return cuda.status();
  return (*cuda)->CountDevices();
}

// A launcher shows each rank its GPU, or all of the node's.
Result<std::unique_ptr<GpuDevice>> OpenDevice(std::int32_t local_rank) {
  const auto count = CountDevices();
  return GpuDevice::Open(count.ok() && *count == 1 ? 0 : local_rank);
}

double PeakOf(const ByteGptOptions& options, const GpuDevice& device) {
  return options.peak_tflops > 0 ? options.peak_tflops : device.PeakTeraflops();
}

void PrintSpeed(const ByteGptOptions& options, const GptConfig& config, const GpuTrainer& trainer,
                const GpuDevice& device, int ranks) {
  const std::uint64_t steps = trainer.timed_steps();
  const double seconds = std::chrono::duration<double>(trainer.stepping()).count();
  const double waited = std::chrono::duration<double>(trainer.waited()).count();
  const double tokens =
      static_cast<double>(steps * trainer.micro_batches() * options.sequences * config.context);
  std::printf("%s after step %llu: loss ema %.4f, %.0f tokens/s\n",
              trainer.stopped() ? "stopped" : "done",
              static_cast<unsigned long long>(trainer.step()), trainer.progress().loss_ema,
              seconds > 0 ? tokens / seconds : 0);
  if (trainer.progress().skipped > 0) {
    std::printf("%llu steps were skipped\n",
                static_cast<unsigned long long>(trainer.progress().skipped));
  }
  if (steps == 0 || seconds <= 0) return;
  const double teraflops = tokens / seconds * FlopsPerToken(config) / 1e12 / ranks;
  const double peak = PeakOf(options, device);
  std::printf("ms a step: %.3f, the host waited for the GPU in %.3f; %.1f TFLOP/s a GPU",
              1e3 * seconds / static_cast<double>(steps), 1e3 * waited / static_cast<double>(steps),
              teraflops);
  if (peak > 0) {
    std::printf(", MFU %.1f%% of %.1f TFLOP/s dense bf16 (6 N + 12 L H Q T a token)",
                100 * teraflops / peak, peak);
  } else {
    std::printf(", MFU not known: say --peak-tflops");
  }
  std::printf("\n");
}

Status TrainRank(const ByteGptOptions& options, const std::string& text, const GpuRank& rank,
                 GpuDevice& device, ProcessGroup* group) {
  const auto config = ToGptConfig(options);
  if (!config.ok()) return config.status();
  auto train = ToTrainOptions(options);
  if (!train.ok()) return std::move(train).status();
  train->checkpoints = rank.checkpoints;
  train->first_node_saves = rank.link == nullptr;
  train->facts = FactsOf(options, *config, text);
  train->facts["gemm_kernels"] = "cuBLASLt";
  const std::uint64_t all = std::uint64_t{options.micro_batches} * options.accumulate;
  auto model = GpuGpt::Make({.gpt = *config,
                             .sequences = options.sequences,
                             .bf16 = options.bf16,
                             .places = all / static_cast<std::uint64_t>(rank.ranks) + 1,
                             .seed = options.seed},
                            text, device);
  if (!model.ok()) return std::move(model).status();
  Console console(rank.rank == 0, options.steps, RealClock(), rank.link);
  const double tokens = static_cast<double>(all * options.sequences * config->context) / rank.ranks;
  console.MeasureSteps(tokens * FlopsPerToken(*config) / 1e12, PeakOf(options, device));
  if (rank.rank == 0 && !options.step_log.empty()) {
    auto file = OpenStepLog(options.step_log);
    if (!file.ok()) return std::move(file).status();
    console.WriteStepLog(*std::move(file), rank.attempt);
  }
  auto trainer = GpuTrainer::Start(*train, {.device = device,
                                            .model = **model,
                                            .group = group,
                                            .memory = rank.memory,
                                            .sink = rank.sink,
                                            .host = console,
                                            .clock = RealClock(),
                                            .place = rank.place,
                                            .recorder = rank.recorder});
  if (!trainer.ok()) return std::move(trainer).status();
  RETURN_IF_ERROR((*trainer)->Run());
  if (rank.rank == 0) {
    PrintSpeed(options, *config, **trainer, device, rank.ranks);
    if (options.sample > 0 || options.hash) {
      const auto parameters = (*trainer)->Parameters();
      if (!parameters.ok()) return parameters.status();
      PrintTail(options, *config, (*trainer)->layout(), parameters->data());
    }
    std::fflush(stdout);
  }
  return group == nullptr ? Status() : group->barrier();  // Nobody leaves before rank 0.
}

// With a flight recorder where there is a job daemon to keep it.
Status TrainRecorded(const ByteGptOptions& options, const std::string& text, const GpuRank& rank,
                     GpuDevice& device, ProcessGroup* group) {
  if (rank.link == nullptr) return TrainRank(options, text, rank, device, group);
  auto recorder = std::make_unique<FlightRecorder>(
      rank.memory, static_cast<std::uint32_t>(rank.place.local_rank),
      RecorderFacts{.rank = rank.rank, .world_size = rank.ranks, .attempt = rank.attempt}, group,
      RealClock());
  GpuRank recorded = rank;
  recorded.recorder = &recorder->recorder();
  Status status = TrainRank(options, text, recorded, device, group);
  // It stays: what is in flight may still tell it.
  if (!status.ok()) static_cast<void>(recorder.release());
  return status;
}

Status RunRank(const ByteGptOptions& options, const std::string& text, const GpuRank& rank) {
  auto device = OpenDevice(rank.place.local_rank);
  if (!device.ok()) return std::move(device).status().While("--device cuda");
  if (rank.ranks == 1) return TrainRecorded(options, text, rank, **device, nullptr);
  auto session = NcclSession::Start({}, rank.store,
                                    {.device = (*device)->number(),
                                     .after_stream = (*device)->compute(),
                                     .attempt = [failed = rank.failed] {
                                       return failed == nullptr ? Status() : failed->reason();
                                     }});
  if (!session.ok()) return std::move(session).status().While("--device cuda on several ranks");
  const std::string name = "byte_gpt." + std::to_string(rank.attempt);
  auto group = (*session)->World(name, rank.rank, rank.ranks);
  if (!group.ok()) return std::move(group).status();
  Status status = TrainRecorded(options, text, rank, **device, group->get());
  if (!status.ok()) (*group)->abort(status);
  group->reset();  // Before the stream that it follows.
  return status;
}

// A rank needs a GPU of its own.
Status CheckThreads(int threads) {
  const auto count = CountDevices();
  if (!count.ok() || threads <= *count) return {};  // Without any, opening it says what to do.
  return Status(Code::kInvalid, "--threads is " + std::to_string(threads) +
                                    ", and this process sees " + std::to_string(*count) +
                                    " GPUs: a rank needs one of its own");
}

Status RunThreads(const ByteGptOptions& options, const std::string& text) {
  RETURN_IF_ERROR(CheckThreads(options.threads));
  AbortFlag failed;
  auto sink = OpenDirectSink(options, 0);
  if (!sink.ok()) return std::move(sink).status();
  const auto store = std::make_shared<ThreadsStore>();
  ThreadsMemory memory;
  {
    std::vector<std::jthread> ranks;
    for (int rank = 0; rank < options.threads; ++rank) {
      ranks.emplace_back([&, rank] {
        const Status status = RunRank(options, text,
                                      {.rank = rank,
                                       .ranks = options.threads,
                                       .place = {.local_rank = rank},
                                       .store = store,
                                       .memory = memory,
                                       .sink = sink->get(),
                                       .checkpoints = *sink != nullptr,
                                       .failed = &failed});
        if (!status.ok()) failed.Set(status);
      });
    }
  }
  return failed.reason();  // The first, which is why the others failed.
}

}  // namespace

Status TrainCuda(const ByteGptOptions& options, const RankInfo& info, const std::string& text) {
  if (info.launcher == Launcher::kNone) return RunThreads(options, text);
  if (info.launcher != Launcher::kMuster || !info.link_fd) {
    return Status(Code::kInvalid,
                  "--device cuda under mpirun: the ranks have no keys to meet by; start them with "
                  "`muster run`, or as --threads of one process");
  }
  auto link = RankLink::Open(info);
  if (!link.ok()) return std::move(link).status();
  (*link)->Report({.phase = link::Phase::kStarting});
  LinkMemory memory(**link);
  LinkSink sink(**link);
  const Status status = RunRank(options, text,
                                {.rank = info.rank,
                                 .ranks = info.world_size,
                                 .place = {.node = info.node_rank, .local_rank = info.local_rank},
                                 .store = std::make_shared<LinkStore>(**link),
                                 .memory = memory,
                                 .sink = &sink,
                                 .checkpoints = options.checkpoint_every > 0,
                                 .link = link->get(),
                                 .attempt = info.attempt});
  (*link)->Bye(status.ok() ? 0 : 1);
  return status;
}

}  // namespace muster
