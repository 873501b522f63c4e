// The command line of byte_gpt, parsed.  Pure values.
#pragma once

#include <cstdint>
#include <string>

#include "examples/byte_gpt/gpt.h"
#include "runtime/train/train_options.h"

namespace muster {

struct ByteGptOptions {
  std::uint64_t steps = 200;
  std::uint64_t stop_after = 0;
  std::uint64_t seed = 42;
  std::uint32_t micro_batches = 16;
  std::uint64_t checkpoint_every = 0;
  bool skip_busy_saves = false;
  std::string checkpoint_dir;
  std::string run = "byte_gpt";
  std::string resume = "memory";
  std::string data = "/usr/share/common-licenses";
  int threads = 1;
  std::string backend = "mpi";
  std::string device = "cpu";
  std::string size = "byte";
  std::size_t layers = 0, channels = 0, heads = 0, context = 0;  // 0: those of `size`.
  std::size_t sequences = 1;                                     // Of a micro-batch.
  double peak_tflops = 0;                                        // 0: of the GPU that was found.
  std::string step_log;
  std::size_t sample = 0;
  bool hash = false;
  // How it trains (runtime/train/train_options.h).
  std::uint32_t accumulate = 1;
  bool zero1 = false;
  bool bf16 = false;
  std::string loss_scale = "1";
  double clip = 1;
  std::string schedule = "cosine";
  std::uint64_t warmup_steps = 100;
  std::string nan = "stop";
  bool no_deterministic = false;
  bool no_overlap = false;
};

// The model that --size and the flags beside it name.  kInvalid says which is wrong.
Result<GptConfig> ToGptConfig(const ByteGptOptions& options);

// What one token costs forward and backward: 6 N + 12 L H Q T (PaLM, appendix B; H Q is the width).
double FlopsPerToken(const GptConfig& config);

// What the loop is told of them.  kInvalid names the flag.
Result<TrainOptions> ToTrainOptions(const ByteGptOptions& options);

}  // namespace muster
