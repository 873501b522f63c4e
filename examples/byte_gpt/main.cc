// byte_gpt: trains a byte-level GPT data-parallel, the same bits on any number of ranks.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>

#include "examples/byte_gpt/console_posix.h"
#include "examples/byte_gpt/gpt.h"
#include "examples/byte_gpt/options.h"
#include "examples/byte_gpt/rank_gpu_threads.h"
#include "examples/byte_gpt/rank_mpi.h"
#include "examples/byte_gpt/rank_posix.h"
#include "examples/byte_gpt/text_posix.h"
#include "runtime/base/rank_posix.h"
#include "runtime/train/stop_posix.h"

namespace muster {
namespace {

int ExitCode(const Status& status) {
  switch (status.code()) {
    case Code::kOk:
      return 0;
    case Code::kInvalid:
      return 2;
    case Code::kInternal:
      return 70;
    case Code::kAborted:
      return 75;
    default:
      return 1;
  }
}

void AddOptions(CLI::App& app, ByteGptOptions& options) {
  app.add_option("--steps", options.steps, "Steps of the whole run")->capture_default_str();
  app.add_option("--stop-after", options.stop_after, "Stop after this step, as on SIGTERM");
  app.add_option("--seed", options.seed, "Seed of the start and of the data's order")
      ->capture_default_str();
  app.add_option("--micro-batches", options.micro_batches, "Micro-batches of a step")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  app.add_option("--data", options.data, "Text to train on: a file or a folder")
      ->capture_default_str();
  app.add_option("--checkpoint-every", options.checkpoint_every,
                 "Steps between checkpoints (0: none is saved, and none loaded)");
  app.add_flag("--skip-busy-saves", options.skip_busy_saves,
               "Leave out a checkpoint rather than wait while two are still being written");
  app.add_option("--checkpoint-dir", options.checkpoint_dir,
                 "Store of a run without muster: checkpoints go there and come from there");
  app.add_option("--run", options.run, "Name of the run in that store")->capture_default_str();
  app.add_option(
         "--resume", options.resume,
         "What an attempt under muster goes on from: memory, or a checkpoint when the memory "
         "is not whole; commit: always a checkpoint")
      ->capture_default_str()
      ->check(CLI::IsMember({"memory", "commit"}));
  app.add_option("--threads", options.threads, "Ranks as threads of this process")
      ->check(CLI::Range(1, 1024));
  app.add_option("--backend", options.backend,
                 "Process group of launched ranks: mpi; hybrid: shared memory inside a node; nccl: "
                 "between GPUs, as --device cuda does in any case")
      ->capture_default_str()
      ->check(CLI::IsMember({"mpi", "hybrid", "nccl"}));
  app.add_option(
      "--step-log", options.step_log,
      "The first rank appends a line a step to this file: attempt, step, microseconds of "
      "the monotonic clock, loss, tokens so far");
  app.add_option("--sample", options.sample, "Lines to write at the end");
  app.add_flag("--hash", options.hash, "Print the SHA-256 of the final parameters");
}

void AddModelOptions(CLI::App& app, ByteGptOptions& options) {
  app.add_option("--device", options.device, "Where to train: cpu, or cuda, a GPU a rank")
      ->capture_default_str()
      ->check(CLI::IsMember({"cpu", "cuda"}));
  app.add_option("--size", options.size,
                 "The model: byte (4 layers, 128 channels, 4 heads, context 64), or 124M, GPT-2's "
                 "(12, 768, 12, 1024, a vocabulary of 50304 of which 256 are used)")
      ->capture_default_str()
      ->check(CLI::IsMember({"byte", "124M"}));
  app.add_option("--layers", options.layers, "Instead of what --size says, as the next three");
  app.add_option("--channels", options.channels, "Width of the model");
  app.add_option("--heads", options.heads, "Of the attention; channels are a multiple of them");
  app.add_option("--context", options.context, "Bytes of a sequence");
  app.add_option("--sequences", options.sequences, "Of a micro-batch")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  app.add_option("--peak-tflops", options.peak_tflops,
                 "Dense bf16 peak of the GPU, for the MFU; known of A100, H100 and H200");
}

void AddTrainingOptions(CLI::App& app, ByteGptOptions& options) {
  app.add_option("--accumulate", options.accumulate,
                 "Gradient accumulation: so many times --micro-batches a step, reduced once")
      ->capture_default_str()
      ->check(CLI::Range(1, 65536));
  app.add_option("--clip", options.clip,
                 "Clip the gradient's norm, over all ranks, to this; 0: do not")
      ->capture_default_str();
  app.add_option("--schedule", options.schedule,
                 "Learning rate after the warm-up: constant, or linear or cosine to a tenth")
      ->capture_default_str()
      ->check(CLI::IsMember({"constant", "linear", "cosine"}));
  app.add_option("--warmup-steps", options.warmup_steps, "Steps of linear warm-up")
      ->capture_default_str();
  app.add_flag("--bf16", options.bf16, "Weights and gradients in bf16, master weights in f32");
  app.add_option("--loss-scale", options.loss_scale,
                 "Multiply the loss by this power of two before it is differentiated; dynamic: "
                 "from 65536, halved when a gradient overflows, doubled after 2000 good steps")
      ->capture_default_str();
  app.add_option("--nan", options.nan,
                 "A loss or gradient with a NaN or Inf: stop with an error that names step and "
                 "tensor, or skip the step")
      ->capture_default_str()
      ->check(CLI::IsMember({"stop", "skip"}));
  app.add_flag("--zero1", options.zero1,
               "ZeRO-1: each node keeps its part of the optimizer's state; the same bits");
  app.add_flag("--no-overlap", options.no_overlap,
               "Sum gradients between nodes after the backward pass, not during it");
  app.add_flag("--no-deterministic", options.no_deterministic,
               "Sum in the order that is cheapest: the bits depend on the number of ranks");
  app.footer(
      "Examples:\n"
      "  byte_gpt --steps 120 --hash --sample 2\n"
      "  byte_gpt --threads 2 --accumulate 4 --clip 0.5 --schedule linear --warmup-steps 20\n"
      "  mpirun -np 4 byte_gpt --bf16 --loss-scale dynamic --nan skip\n"
      "  byte_gpt --device cuda --threads 8 --size 124M --sequences 32 --bf16\n"
      "  muster run -N 2 --ranks-per-node 4 --checkpoint-store /tmp/store -- byte_gpt --zero1 "
      "--checkpoint-every 50");
}

Status Train(const ByteGptOptions& options) {
  const auto info = WhoAmI();
  if (!info.ok()) return info.status();
  const auto text = LoadText(options.data);
  if (!text.ok()) return text.status();
  const auto config = ToGptConfig(options);
  if (!config.ok()) return config.status();
  if (text->size() <= config->context) {
    return Status(Code::kInvalid, options.data + " has " + std::to_string(text->size()) +
                                      " bytes; a sequence needs " +
                                      std::to_string(config->context + 1));
  }
  const bool launched = info->launcher != Launcher::kNone;
  if (launched && options.threads > 1) {
    return Status(Code::kInvalid, "--threads is for a process alone, not for a launched rank");
  }
  if (info->launcher == Launcher::kMuster && !options.checkpoint_dir.empty()) {
    return Status(Code::kInvalid, "under muster the job's store is used, not --checkpoint-dir");
  }
  RETURN_IF_ERROR(ToTrainOptions(options).status());
  if (!launched && options.checkpoint_every > 0 && options.checkpoint_dir.empty()) {
    return Status(Code::kInvalid, "--checkpoint-every needs --checkpoint-dir");
  }
  if (!options.step_log.empty()) {
    // Before any rank could wait for one that failed.
    RETURN_IF_ERROR(OpenStepLog(options.step_log).status());
  }
  if (options.device == "cuda") return TrainCuda(options, *info, *text);
  return launched ? TrainMpi(options, *info, *text) : TrainThreads(options, *text);
}

int Main(int argc, char** argv) {
  CatchStopSignal();
  ByteGptOptions options;
  CLI::App app("Trains a byte-level GPT (834,304 parameters by default) on text.");
  AddOptions(app, options);
  AddModelOptions(app, options);
  AddTrainingOptions(app, options);
  CLI11_PARSE(app, argc, argv);
  const Status status = Train(options);
  if (status.ok()) return 0;
  std::fprintf(stderr, "byte_gpt: %s\n", status.message().c_str());
  std::fflush(stdout);
  _exit(ExitCode(status));  // Other ranks may be waiting for this one in MPI.
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  return muster::Main(argc, argv);
}
