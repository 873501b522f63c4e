// Ranks that are threads and train a tiny GPT on GPUs, over the fake CUDA, fake NCCL and fake
// kernels.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "examples/byte_gpt/gpt_cuda.h"
#include "runtime/train/gpu_loop_cuda.h"
#include "tests/unit/comm/nccl_ranks.h"

namespace muster::testing {

inline const GptConfig kTinyGpt{.layers = 2, .width = 32, .heads = 2, .context = 16};

inline std::string SomeText() {
  std::string text;
  for (int i = 0; text.size() < 3000; ++i) text += "line " + std::to_string(i * i) + " of it;\n";
  return text;
}

inline GpuDevice::Paths FakePaths() {
  return {.cuda = FAKE_CUDART, .kernels = FAKE_MUSTER_CUDA};
}

// A model that a step breaks: a NaN in the gradient of a tensor, or in the loss.
class BreakingModel final : public GpuModel {
 public:
  struct When {
    std::int64_t step = -1;
    std::uint32_t micro_batch = 5;
    std::size_t tensor = 7;
    bool loss = false;
    bool never_tells = false;  // Instead.
    // What the model did of any micro-batch is in the stream.
    std::function<void(const Call& call)> after;
  };
  BreakingModel(GpuModel& model, const When& when, GpuDevice& device)
      : model_(model), when_(when), device_(device) {
    nan_ = reinterpret_cast<float*>(*device.AllocatePinned(sizeof(float), "a NaN"));
    *nan_ = std::numeric_limits<float>::quiet_NaN();
  }

  std::vector<TensorSpec> Tensors() const override { return model_.Tensors(); }
  void Initialize(std::uint64_t seed, const Layout& layout, float* parameters) const override {
    model_.Initialize(seed, layout, parameters);
  }
  Status Gradient(const Call& call, const Layout& layout, Backward& backward) override {
    const bool now =
        static_cast<std::int64_t>(call.at.step) == when_.step && call.at.index == when_.micro_batch;
    if (now && when_.never_tells) return {};
    if (!now) {
      RETURN_IF_ERROR(model_.Gradient(call, layout, backward));
      if (when_.after) when_.after(call);
      return {};
    }
    Backward quiet(layout);  // What leaves early would leave whole.
    quiet.Open(call.at, backward.loss_scale(), {});
    RETURN_IF_ERROR(model_.Gradient(call, layout, quiet));
    float* const at =
        when_.loss ? call.loss : static_cast<float*>(call.gradient) + layout.offset(when_.tensor);
    RETURN_IF_ERROR(device_.Copy(at, nan_, sizeof(float), device_.compute()));
    backward.AllFinal();
    return {};
  }
  std::uint64_t tokens_per_micro_batch() const override { return model_.tokens_per_micro_batch(); }

 private:
  GpuModel& model_;
  const When when_;
  GpuDevice& device_;
  float* nan_ = nullptr;
};

// What one rank is given.
struct GpuRank {
  int rank = 0;
  GpuDevice& device;
  GpuModel& model;
  ProcessGroup* group = nullptr;
};

struct GpuScene {
  int ranks = 1;
  std::size_t sequences = 1;
  bool bf16 = false;
  BreakingModel::When breaks;
  Duration timeout = kPeerTimeout;
  bool check_calls = true;
  std::string text = SomeText();

  // Runs `body` as each rank.
  void Run(const std::function<void(const GpuRank&)>& body) const {
    const auto store = std::make_shared<ThreadsStore>();
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] { RunRank(rank, store, body); });
    }
  }

 private:
  void RunRank(int rank, const std::shared_ptr<ThreadsStore>& store,
               const std::function<void(const GpuRank&)>& body) const {
    auto device = GpuDevice::Open(rank, FakePaths());
    ASSERT_TRUE(device.ok()) << device.status().message();
    std::unique_ptr<NcclSession> session;
    std::unique_ptr<ProcessGroup> group;
    if (ranks > 1) {
      auto started = NcclSession::Start(
          {.nccl = FAKE_NCCL, .cuda = FAKE_CUDART, .kernels = FAKE_MUSTER_CUDA}, store,
          {.device = rank,
           .check_calls = check_calls,
           .after_stream = (*device)->compute(),
           .patience = std::chrono::milliseconds(500)});
      ASSERT_TRUE(started.ok()) << started.status().message();
      session = *std::move(started);
      auto world = session->World("train", rank, ranks, timeout);
      ASSERT_TRUE(world.ok()) << world.status().message();
      group = *std::move(world);
    }
    auto gpt = GpuGpt::Make({.gpt = kTinyGpt, .sequences = sequences, .bf16 = bf16, .places = 64},
                            text, **device);
    ASSERT_TRUE(gpt.ok()) << gpt.status().message();
    BreakingModel model(**gpt, breaks, **device);
    body({.rank = rank, .device = **device, .model = model, .group = group.get()});
    group = nullptr;  // Before the streams that it follows.
  }
};

// Waits for what the stream holds.
inline void Drain(GpuDevice& device, CudaStream stream) {
  while (device.cuda().api().stream_query(stream) == kCudaNotReady) {
  }
}

// `count` floats of the GPU.
inline std::vector<float> Fetch(GpuDevice& device, const float* from, std::size_t count) {
  std::byte* pinned = *device.AllocatePinned(count * sizeof(float), "a test");
  EXPECT_TRUE(device.Copy(pinned, from, count * sizeof(float), device.compute()).ok());
  Drain(device, device.compute());
  const auto* values = reinterpret_cast<const float*>(pinned);
  return {values, values + count};
}

inline void Put(GpuDevice& device, float* to, const std::vector<float>& values) {
  std::byte* pinned = *device.AllocatePinned(values.size() * sizeof(float), "a test");
  std::copy(values.begin(), values.end(), reinterpret_cast<float*>(pinned));
  EXPECT_TRUE(device.Copy(to, pinned, values.size() * sizeof(float), device.compute()).ok());
}

}  // namespace muster::testing
