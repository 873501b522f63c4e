// byte_gpt on the GPU: its loss curve beside the host's, the same bits twice, MFU at GPT-2's size,
// and how fast a checkpoint comes to the host.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>

#include "examples/byte_gpt/byte_model.h"
#include "examples/byte_gpt/gpt_cuda.h"
#include "runtime/comm/canonical.h"
#include "runtime/train/gpu_loop_cuda.h"
#include "runtime/train/gpu_staging_cuda.h"
#include "tests/integration/gpu/gpu_check.h"

namespace muster::gpu {
namespace {

const GptConfig kSmall{.layers = 2, .width = 64, .heads = 2, .context = 64};
const GptConfig kGpt2{
    .layers = 12, .width = 768, .heads = 12, .context = 1024, .vocabulary = 50304};

// Words in an order without end: something to learn.
std::string SomeText() {
  std::string text;
  for (std::uint64_t i = 1; text.size() < 100'000; ++i) {
    text += "the " + std::to_string(i * i * 7919 % 997) + "th of them is " +
            std::to_string(i % 13) + ";\n";
  }
  return text;
}

template <typename T>
T Value(Result<T> result) {
  Must(result.status());
  return *std::move(result);
}

void Drain(GpuDevice& device, CudaStream stream) {
  const CudaEvent mark = Value(device.NewMark());
  Must(device.Mark(mark, stream));
  const TimePoint deadline = RealClock().Now() + std::chrono::seconds(60);
  while (!Value(device.Reached(mark))) {
    if (RealClock().Now() > deadline) Must(Status(Code::kDeadline, "the GPU does not answer"));
  }
}

// One training run on GPU 0, from the seed's parameters.
struct Run {
  Run(const GpuGptConfig& config, const TrainOptions& train, const std::string& text)
      : options(train) {
    if (config.bf16) options.precision = Precision::kBF16;
    device = Value(GpuDevice::Open(0));
    model = Value(GpuGpt::Make(config, text, *device));
    loop =
        Value(GpuLoop::Make(options, {.device = *device, .model = *model, .clock = RealClock()}));
  }
  void Start(const std::vector<float>& parameters) {
    const std::size_t bytes = parameters.size() * sizeof(float);
    std::byte* pinned = Value(device->AllocatePinned(bytes, "parameters"));
    std::memcpy(pinned, parameters.data(), bytes);
    Must(device->Copy(loop->arrays()[0], pinned, bytes, device->compute()));
    Must(loop->Begin({.scale = {}}));
    Drain(*device, device->compute());
  }
  std::vector<float> Parameters() {
    std::vector<float> values(loop->layout().elements());
    const std::size_t bytes = values.size() * sizeof(float);
    std::byte* pinned = Value(device->AllocatePinned(bytes, "parameters"));
    Must(device->Copy(pinned, loop->arrays()[0], bytes, device->compute()));
    Drain(*device, device->compute());
    std::memcpy(values.data(), pinned, bytes);
    return values;
  }

  TrainOptions options;
  std::unique_ptr<GpuDevice> device;
  std::unique_ptr<GpuGpt> model;
  std::unique_ptr<GpuLoop> loop;
};

std::vector<float> Initial(const GptConfig& config) {
  const Layout layout(GptTensors(config));
  std::vector<float> parameters(layout.elements());
  InitializeGpt(config, 42, layout, parameters.data());
  return parameters;
}

const TrainOptions kShort{.steps = 40, .micro_batches = 4, .optimizer = {.warmup_steps = 10}};

// The same on the host: its kernels, its optimizer, its order of sums.
std::vector<double> HostLosses(const std::string& text) {
  const Layout layout(GptTensors(kSmall));
  const std::size_t n = layout.elements();
  std::vector<float> parameters = Initial(kSmall), exp_avg(n), exp_avg_sq(n);
  ByteModel model(kSmall, text, 42);
  std::vector<double> losses;
  for (std::uint64_t step = 0; step < kShort.steps; ++step) {
    std::vector<std::vector<float>> slots;
    double loss = 0;
    for (std::uint32_t m = 0; m < kShort.micro_batches; ++m) {
      Backward backward(layout);
      backward.Open({.step = step, .index = m}, 1, {});
      slots.emplace_back(layout.gradient_elements());
      loss += static_cast<double>(model.Gradient({.step = step, .index = m}, layout,
                                                 parameters.data(), slots.back().data(), backward));
      Must(backward.Close());
    }
    AddKernel(slots[0].data(), slots[0].data(), slots[1].data(), n);
    AddKernel(slots[2].data(), slots[2].data(), slots[3].data(), n);
    AddKernel(slots[0].data(), slots[0].data(), slots[2].data(), n);
    losses.push_back(loss / kShort.micro_batches);
    const double scale =
        GradientScale(kShort.optimizer, SumOfSquares(slots[0].data(), n), kShort.micro_batches);
    const AdamWUpdate update = MakeUpdate(kShort.optimizer, step, kShort.steps, scale, step);
    for (const auto& piece : layout.Pieces({0, n})) {
      const std::size_t at = piece.range.begin;
      ApplyAdamW(update, {.parameters = &parameters[at],
                          .exp_avg = &exp_avg[at],
                          .exp_avg_sq = &exp_avg_sq[at],
                          .gradient = &slots[0][at],
                          .elements = piece.range.size(),
                          .decay = piece.decay});
    }
  }
  return losses;
}

}  // namespace

void CheckCurve(const Libraries&, Table& table) {
  const std::string text = SomeText();
  const std::vector<double> expected = HostLosses(text);
  for (const bool bf16 : {false, true}) {
    Run run({.gpt = kSmall, .bf16 = bf16, .places = 4}, kShort, text);
    run.Start(Initial(kSmall));
    double worst = 0, last = 0;
    for (const double host : expected) {
      last = Value(run.loop->Step({})).verdict.loss;
      const double difference = std::fabs(last - host);
      if (!(difference <= worst)) worst = difference;
    }
    const double allowed = bf16 ? 0.05 : 0.002;
    char result[128];
    std::snprintf(result, sizeof result, "%.4f to %.4f, at most %.2g from the host's, allowed %g",
                  expected.front(), last, worst, allowed);
    table.push_back({std::string("byte_gpt, loss over 40 steps, ") + (bf16 ? "bf16" : "f32"),
                     result, worst <= allowed && last < expected.front() - 0.5});
  }
}

// Shapes that fill the GPU, so that it could do things in another order.
void CheckRepeats(const Libraries&, Table& table) {
  const std::string text = SomeText();
  const GptConfig config{.layers = 3, .width = 512, .heads = 8, .context = 512};
  const std::vector<float> initial = Initial(config);
  std::vector<float> ends[2];
  for (auto& end : ends) {
    Run run({.gpt = config, .sequences = 8, .bf16 = true, .places = 4}, kShort, text);
    run.Start(initial);
    for (int step = 0; step < 10; ++step) Value(run.loop->Step({}));
    end = run.Parameters();
  }
  const bool same =
      std::memcmp(ends[0].data(), ends[1].data(), ends[0].size() * sizeof(float)) == 0;
  table.push_back({"byte_gpt, two runs of 10 steps, bf16, 3 x 512, 8 x 512 bytes a micro-batch",
                   same ? "the same bits" : "differ", same && ends[0] != initial});
}

// 6 N + 12 L H Q T a token (PaLM, appendix B), of the dense bf16 peak.
void MeasureTraining(const Libraries&, Table& table) {
  const std::string text = SomeText();
  const std::vector<float> initial = Initial(kGpt2);
  constexpr int kSteps = 5;
  constexpr std::uint32_t kMicroBatches = 4;
  double parameters = 0;
  for (const TensorSpec& tensor : GptTensors(kGpt2)) {
    parameters += static_cast<double>(tensor.elements());
  }
  const double flops = 6 * parameters + 12.0 * 12 * 768 * 1024;
  TrainOptions options = kShort;
  options.micro_batches = kMicroBatches;
  for (const std::size_t sequences : {8U, 16U, 32U, 64U}) {
    const std::string what =
        "byte_gpt 124M bf16, " + std::to_string(sequences) + " x 1024 a micro-batch, 4 a step";
    auto device = Value(GpuDevice::Open(0));
    const auto fits =
        GpuGpt::Make({.gpt = kGpt2, .sequences = sequences, .bf16 = true, .places = kMicroBatches},
                     text, *device);
    const bool too_large = fits.status().code() == Code::kExhausted;
    device.reset();
    if (too_large) {
      table.push_back({what, "does not fit"});
      break;
    }
    Run run({.gpt = kGpt2, .sequences = sequences, .bf16 = true, .places = kMicroBatches}, options,
            text);
    run.Start(initial);
    for (int warm = 0; warm < 2; ++warm) Value(run.loop->Step({}));
    const TimePoint begin = RealClock().Now();
    for (int step = 0; step < kSteps; ++step) Value(run.loop->Step({}));
    Drain(*run.device, run.device->compute());
    const double seconds = std::chrono::duration<double>(RealClock().Now() - begin).count();
    const double tokens = static_cast<double>(sequences * 1024 * kSteps * kMicroBatches);
    const double teraflops = tokens / seconds * flops / 1e12;
    const double peak = run.device->PeakTeraflops();
    char result[160];
    std::snprintf(result, sizeof result,
                  "%.0f tokens/s, %.1f TFLOP/s, MFU %.1f%% of %.1f (llm.c: 56%%, A100), %.1f GiB",
                  tokens / seconds, teraflops, peak > 0 ? 100 * teraflops / peak : 0, peak,
                  static_cast<double>(run.device->allocated()) / (1U << 30U));
    table.push_back({what, result});
  }
}

// The state of 124M parameters, tensor by tensor as a checkpoint has it, and the same bytes at
// once.
void MeasureStaging(const Libraries&, Table& table) {
  const std::string text = SomeText();
  constexpr int kRuns = 7;
  Run run({.gpt = kGpt2, .sequences = 1, .bf16 = true, .places = 4}, kShort, text);
  GpuDevice& device = *run.device;
  const Layout& layout = run.loop->layout();
  std::vector<GpuStaging::Run> runs;
  std::size_t bytes = 0;
  for (float* array : run.loop->arrays()) {
    for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
      runs.push_back({array + layout.offset(i), layout.tensors()[i].elements()});
      bytes += runs.back().elements * sizeof(float);
    }
  }
  // As staging memory: of the host, and pinned where it lies.
  const std::unique_ptr<std::byte, decltype(&std::free)> memory(
      static_cast<std::byte*>(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)), &std::free);
  std::memset(memory.get(), 1, bytes);
  Must(device.Pin({memory.get(), bytes}, "staging memory"));
  std::byte* plain = Value(device.AllocatePinned(bytes, "a plain copy"));
  std::byte* whole = Value(device.Allocate(bytes, "a plain copy"));
  auto staging = Value(GpuStaging::Make(device));
  Drain(device, device.compute());
  std::vector<double> ours, theirs;
  for (int i = 0; i <= kRuns; ++i) {
    TimePoint begin = RealClock().Now();
    Must(staging->Begin(runs, {.begin = 0, .end = bytes}, memory.get()));
    while (!Value(staging->TakeEnd())) {
    }
    const double staged = std::chrono::duration<double>(RealClock().Now() - begin).count();
    begin = RealClock().Now();
    Must(device.Copy(plain, whole, bytes, device.copies()));
    Drain(device, device.copies());
    const double copied = std::chrono::duration<double>(RealClock().Now() - begin).count();
    if (i == 0) continue;
    ours.push_back(staged);
    theirs.push_back(copied);
  }
  std::sort(ours.begin(), ours.end());
  std::sort(theirs.begin(), theirs.end());
  const auto rate = [&](const std::vector<double>& s) {
    return static_cast<double>(bytes) / s[kRuns / 2] / 1e9;
  };
  const double ratio = rate(ours) / rate(theirs);
  char result[128];
  std::snprintf(result, sizeof result, "%.1f GB/s, plain pinned copy %.1f GB/s, ratio %.2f",
                rate(ours), rate(theirs), ratio);
  table.push_back({"checkpoint staging D2H, 124M (1.5 GB), asked ratio 0.9", result, ratio >= 0.9});
}

}  // namespace muster::gpu
