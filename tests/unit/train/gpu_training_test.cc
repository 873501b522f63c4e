// Training on GPUs, over fakes: the model's gradient is the host's, a step's bits do not depend on
// the number of ranks, and what goes wrong is named.
#include <atomic>
#include <cmath>

#include "examples/byte_gpt/byte_model.h"
#include "runtime/train/sampler.h"
#include "tests/unit/train/gpu_ranks.h"

namespace muster::testing {
namespace {

constexpr std::uint64_t kSeed = 42;
constexpr std::size_t kSmallGroups = 8192;  // Several of them in a tiny model.

const TrainOptions kOptions{.steps = 3, .micro_batches = 8, .optimizer = {.warmup_steps = 2}};

class GpuTraining : public ::testing::Test {
 protected:
  void TearDown() override {
    EXPECT_EQ(Fakes::Violations(), "");
    Fakes::ForgetViolations();
  }
};

void SetDevices(int count) {
  auto library = DynamicLibrary::Open(std::vector<std::string>{FAKE_CUDART});
  CHECK(library.ok());
  reinterpret_cast<decltype(&fake_cuda_set_devices)>(library->Find("fake_cuda_set_devices"))(count);
}

// ---- The model ----------------------------------------------------------------------------------

std::vector<float> Initial(const Layout& layout) {
  std::vector<float> parameters(layout.elements());
  InitializeGpt(kTinyGpt, kSeed, layout, parameters.data());
  // Away from the start, where many gradients are almost zero.
  for (std::size_t i = 0; i < parameters.size(); ++i) {
    parameters[i] += 0.1F * RandomNormal(7, 7, i);
  }
  return parameters;
}

// The gradient of one micro-batch by the host, of `sequences` of its own.
std::vector<float> HostGradient(const Layout& layout, const std::vector<float>& parameters,
                                const std::string& text, std::uint32_t sequences, float* loss) {
  ByteModel model(kTinyGpt, text, kSeed);
  std::vector<float> mean(layout.gradient_elements());
  std::vector<float> one(layout.gradient_elements());
  *loss = 0;
  for (std::uint32_t s = 0; s < sequences; ++s) {
    const MicroBatch at{.step = 2, .index = 3 * sequences + s};
    Backward backward(layout);
    backward.Open(at, 1, {});
    const float share = 1.0F / static_cast<float>(sequences);
    *loss += share * model.Gradient(at, layout, parameters.data(), one.data(), backward);
    EXPECT_TRUE(backward.Close().ok());
    for (std::size_t i = 0; i < layout.elements(); ++i) mean[i] += share * one[i];
  }
  mean.resize(layout.elements());
  return mean;
}

TEST_F(GpuTraining, TheModelsGradientIsThatOfTheHost) {
  for (const std::uint32_t sequences : {1U, 3U}) {
    GpuScene scene{.sequences = sequences};
    scene.Run([&](const GpuRank& rank) {
      const Layout layout(rank.model.Tensors());
      const std::vector<float> parameters = Initial(layout);
      float expected_loss = 0;
      const auto expected = HostGradient(layout, parameters, scene.text, sequences, &expected_loss);
      float* weights = *rank.device.AllocateArray<float>(layout.elements(), "a test");
      float* gradient = *rank.device.AllocateArray<float>(layout.elements(), "a test");
      float* loss = *rank.device.AllocateArray<float>(1, "a test");
      Put(rank.device, weights, parameters);
      const MicroBatch at{.step = 2, .index = 3};
      Backward backward(layout);
      backward.Open(at, 1, {});
      const Status computed = rank.model.Gradient(
          {.at = at, .weights = weights, .gradient = gradient, .loss = loss}, layout, backward);
      ASSERT_TRUE(computed.ok()) << computed.message();
      EXPECT_TRUE(backward.Close().ok());
      EXPECT_NEAR(Fetch(rank.device, loss, 1)[0], expected_loss, 1e-5);
      const auto got = Fetch(rank.device, gradient, layout.elements());
      for (std::size_t tensor = 0; tensor < layout.tensors().size(); ++tensor) {
        double distance = 0, length = 0;
        const std::size_t begin = layout.offset(tensor);
        for (std::size_t i = begin; i < begin + layout.tensors()[tensor].elements(); ++i) {
          distance += std::pow(static_cast<double>(got[i]) - static_cast<double>(expected[i]), 2);
          length += std::pow(static_cast<double>(expected[i]), 2);
        }
        EXPECT_LT(distance, 1e-9 * length) << layout.tensors()[tensor].name;
        EXPECT_GT(length, 0) << layout.tensors()[tensor].name;
      }
    });
  }
}

// ---- The loop -----------------------------------------------------------------------------------

struct End {
  Status status;
  std::vector<float> parameters;
  std::vector<double> losses;
  std::uint64_t skipped = 0;
  std::uint64_t step = 0;
};

std::vector<End> TrainAll(const GpuScene& scene, const TrainOptions& options) {
  std::vector<End> ends(static_cast<std::size_t>(scene.ranks));
  scene.Run([&](const GpuRank& rank) {
    End& end = ends[static_cast<std::size_t>(rank.rank)];
    auto loop = GpuLoop::Make(options, {.device = rank.device,
                                        .model = rank.model,
                                        .group = rank.group,
                                        .clock = RealClock(),
                                        .group_elements = kSmallGroups});
    end.status = loop.status();
    if (!loop.ok()) return;
    const Layout& layout = (*loop)->layout();
    std::vector<float> parameters(layout.elements());
    rank.model.Initialize(options.seed, layout, parameters.data());
    Put(rank.device, (*loop)->arrays()[0], parameters);
    end.status = (*loop)->Begin({.scale = Begin(options.loss_scaling)});
    while (end.status.ok() && (*loop)->progress().step < options.steps) {
      auto step = (*loop)->Step({});
      end.status = step.status();
      if (step.ok()) end.losses.push_back(step->verdict.loss);
    }
    end.step = (*loop)->progress().step;
    end.skipped = (*loop)->progress().skipped;
    end.parameters = Fetch(rank.device, (*loop)->arrays()[0], layout.elements());
    EXPECT_TRUE(rank.group == nullptr || !end.status.ok() || rank.group->barrier().ok());
  });
  return ends;
}

// All ranks end alike.
End Train(const GpuScene& scene, const TrainOptions& options = kOptions) {
  const std::vector<End> ends = TrainAll(scene, options);
  for (const End& end : ends) {
    EXPECT_TRUE(end.status.ok()) << end.status.message();
    EXPECT_EQ(end.parameters, ends[0].parameters);
    EXPECT_EQ(end.losses, ends[0].losses);
  }
  return ends[0];
}

TEST_F(GpuTraining, EveryNumberOfRanksEndsWithTheSameBits) {
  for (const bool bf16 : {false, true}) {
    TrainOptions options = kOptions;
    if (bf16) options.precision = Precision::kBF16;
    const End alone = Train({.ranks = 1, .bf16 = bf16}, options);
    for (const int ranks : {2, 3, 4}) {
      const End end = Train({.ranks = ranks, .bf16 = bf16}, options);
      EXPECT_EQ(end.parameters, alone.parameters) << ranks << " ranks, bf16 " << bf16;
      EXPECT_EQ(end.losses, alone.losses) << ranks << " ranks, bf16 " << bf16;
    }
    EXPECT_LT(alone.losses.back(), alone.losses.front());
  }
}

TEST_F(GpuTraining, AccumulationAndAnotherWayToCallNcclLeaveTheBits) {
  TrainOptions options = kOptions;
  options.micro_batches = 4;
  options.accumulate = 2;
  EXPECT_EQ(Train({.ranks = 2, .check_calls = false}, options).parameters, Train({}).parameters);
}

// Each sum is another rounding, so the bits are others, and the values are not.
TEST_F(GpuTraining, WithoutDeterminismARunRepeatsItself) {
  TrainOptions options = kOptions;
  options.deterministic = false;
  const End some = Train({.ranks = 3}, options);
  EXPECT_EQ(Train({.ranks = 3}, options).parameters, some.parameters);
  const End alone = Train({});
  EXPECT_NE(alone.parameters, some.parameters);
  EXPECT_NEAR(alone.losses.back(), some.losses.back(), 1e-5);
}

TEST_F(GpuTraining, TheLossCurveIsThatOfTheHostsKernels) {
  TrainOptions options = kOptions;
  options.steps = 6;
  const End end = Train({.ranks = 2}, options);
  const Layout layout(GptTensors(kTinyGpt));
  std::vector<float> parameters(layout.elements()), exp_avg(layout.elements());
  std::vector<float> exp_avg_sq(layout.elements()), gradient(layout.gradient_elements());
  InitializeGpt(kTinyGpt, options.seed, layout, parameters.data());
  const std::string text = SomeText();
  ByteModel model(kTinyGpt, text, kSeed);
  for (std::uint64_t step = 0; step < options.steps; ++step) {
    std::vector<float> sum(layout.gradient_elements());
    double loss = 0;
    for (std::uint32_t m = 0; m < options.micro_batches; ++m) {
      Backward backward(layout);
      backward.Open({.step = step, .index = m}, 1, {});
      loss += static_cast<double>(model.Gradient({.step = step, .index = m}, layout,
                                                 parameters.data(), gradient.data(), backward)) /
              options.micro_batches;
      EXPECT_TRUE(backward.Close().ok());
      AddKernel(sum.data(), sum.data(), gradient.data(), layout.elements());
    }
    EXPECT_NEAR(end.losses[step], loss, 1e-4) << step;
    const double squares = SumOfSquares(sum.data(), layout.elements());
    const AdamWUpdate update =
        MakeUpdate(options.optimizer, step, options.steps,
                   GradientScale(options.optimizer, squares, options.micro_batches), step);
    for (const auto& piece : layout.Pieces({0, layout.elements()})) {
      const std::size_t at = piece.range.begin;
      ApplyAdamW(update, {.parameters = &parameters[at],
                          .exp_avg = &exp_avg[at],
                          .exp_avg_sq = &exp_avg_sq[at],
                          .gradient = &sum[at],
                          .elements = piece.range.size(),
                          .decay = piece.decay});
    }
  }
}

TEST_F(GpuTraining, GroupsLeaveWhileTheBackwardPassGoesOn) {
  std::atomic<int> early{0}, late{0};
  const GpuScene scene{.ranks = 2};
  scene.Run([&](const GpuRank& rank) {
    std::uint64_t begun = 0;  // Of the collectives, when the step began.
    BreakingModel::When when;
    when.after = [&](const GpuModel::Call& call) {
      const bool last = call.at.index % 4 == 3;  // Of this rank's four.
      EXPECT_TRUE(last || rank.group->seq() == begun);
      if (last) (rank.group->seq() > begun ? early : late)++;
    };
    BreakingModel model(rank.model, when, rank.device);
    auto loop = GpuLoop::Make(kOptions, {.device = rank.device,
                                         .model = model,
                                         .group = rank.group,
                                         .clock = RealClock(),
                                         .group_elements = kSmallGroups});
    ASSERT_TRUE(loop.ok()) << loop.status().message();
    begun = rank.group->seq();
    const auto step = (*loop)->Step({});
    EXPECT_TRUE(step.ok()) << step.status().message();
  });
  EXPECT_EQ(early, 2);
  EXPECT_EQ(late, 0);
}

// ---- What goes wrong ----------------------------------------------------------------------------

TEST_F(GpuTraining, ANanStopsTheRunOnAllRanksAndNamesStepAndTensor) {
  const GpuScene scene{.ranks = 2, .breaks = {.step = 1}};
  TrainOptions one_step = kOptions;
  one_step.steps = 3;
  for (const End& end : TrainAll(scene, one_step)) {
    EXPECT_EQ(end.status.code(), Code::kDataLoss);
    EXPECT_EQ(end.status.message(),
              "step 1: the gradient of h.0.attn.proj.bias is not finite (NaN or Inf); nothing was "
              "changed, the last checkpoint stands");
    EXPECT_EQ(end.step, 1U);
  }
  for (const End& end : TrainAll({.breaks = {.step = 0, .loss = true}}, kOptions)) {
    EXPECT_NE(end.status.message().find("step 0: the loss is not finite"), std::string::npos)
        << end.status.message();
  }
}

TEST_F(GpuTraining, ANanIsSkippedWhereTheOptionsSaySo) {
  TrainOptions options = kOptions;
  options.on_nan = OnNan::kSkip;
  const End alone = Train({.breaks = {.step = 1}}, options);
  EXPECT_EQ(alone.skipped, 1U);
  EXPECT_TRUE(std::isfinite(alone.losses.back()));
  EXPECT_EQ(Train({.ranks = 3, .breaks = {.step = 1}}, options).parameters, alone.parameters);
  EXPECT_NE(Train({}, options).parameters, alone.parameters);
}

TEST_F(GpuTraining, DynamicLossScalingTakesAnInfForTheScalesFault) {
  TrainOptions options = kOptions;
  options.loss_scaling = {.scale = 1024, .dynamic = true};
  const End end = Train({.ranks = 2, .breaks = {.step = 0}}, options);
  EXPECT_EQ(end.skipped, 1U);
  // A power of two leaves no trace, but the step that was left out.
  TrainOptions same = kOptions;
  same.on_nan = OnNan::kSkip;
  EXPECT_EQ(Train({.breaks = {.step = 0}}, same).parameters, end.parameters);
}

TEST_F(GpuTraining, AModelThatDoesNotTellIsNamedWithItsTensor) {
  const auto ends =
      TrainAll({.breaks = {.step = 0, .micro_batch = 0, .never_tells = true}}, kOptions);
  EXPECT_EQ(ends[0].status.code(), Code::kInvalid);
  EXPECT_NE(ends[0].status.message().find("step 0, micro-batch 0: the gradient of "),
            std::string::npos)
      << ends[0].status.message();
}

TEST_F(GpuTraining, AFaultOfNcclEndsInAnErrorThatNamesTheCall) {
  struct Case {
    FakeNcclFault fault;
    const char* says;
  };
  const Fakes fakes(FAKE_NCCL);
  for (const Case& one : {Case{kFaultAsyncError, "ncclInternalError"}, Case{kFaultOpHangs, "all_"},
                          Case{kFaultRankDies, "all_"}}) {
    fakes.Plant(one.fault, 3, 1, 12);
    const auto ends = TrainAll({.ranks = 3, .timeout = std::chrono::seconds(1)}, kOptions);
    fakes.Plant(kFaultNone, 0, 0, 0);
    EXPECT_FALSE(ends[1].status.ok()) << one.fault;
    EXPECT_NE(ends[1].status.message().find(one.says), std::string::npos)
        << ends[1].status.message();
    for (const End& end : ends) EXPECT_FALSE(end.status.ok()) << one.fault;
  }
}

TEST_F(GpuTraining, WhatCannotBeSaysWhatToDo) {
  const auto expect = [](const Status& status, Code code, const std::string& words) {
    EXPECT_EQ(status.code(), code);
    EXPECT_NE(status.message().find(words), std::string::npos) << status.message();
  };
  TrainOptions few = kOptions;
  few.micro_batches = 2;
  expect(TrainAll({.ranks = 3}, few)[0].status, Code::kInvalid, "micro-batch");
  TrainOptions sharded = kOptions;
  sharded.zero1 = true;
  expect(TrainAll({}, sharded)[0].status, Code::kUnimplemented, "ZeRO-1 is for ranks on hosts");
  expect(GpuDevice::Open(99, FakePaths()).status(), Code::kInvalid, "this process sees 8");
  expect(GpuDevice::Open(0, {.cuda = "libno.so"}).status(), Code::kUnavailable, "no CUDA runtime");
  expect(GpuDevice::Open(0, {.cuda = FAKE_CUDART, .kernels = "libno.so"}).status(),
         Code::kUnavailable, "no GPU kernels");
  SetDevices(0);
  expect(GpuDevice::Open(0, FakePaths()).status(), Code::kUnavailable,
         "install NVIDIA's driver (nvidia-smi must list the GPU)");
  SetDevices(8);
  auto device = GpuDevice::Open(0, FakePaths());
  ASSERT_TRUE(device.ok());
  expect((*device)->Allocate(std::size_t{1} << 40U, "activations").status(), Code::kExhausted,
         "GPU 0 has no 1.0 TiB for activations");
}

// ---- The plan -----------------------------------------------------------------------------------

Topology GpusOf(int ranks, int rank, std::uint32_t micro_batches) {
  std::vector<Place> places;
  for (int r = 0; r < ranks; ++r) places.push_back({.node = r});
  auto topology = Topology::Make(places, rank, micro_batches);
  CHECK(topology.ok());
  return *std::move(topology);
}

TEST(GpuSumPlan, GroupsAndSlicesCoverTheGradientOnceInWholeLines) {
  const Layout layout(GptTensors(kTinyGpt));
  for (const int ranks : {1, 2, 3, 8}) {
    const auto plan = GpuSumPlan::Make(layout, GpusOf(ranks, 0, 16), 256, 512, 5000);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    std::size_t at = 0;
    for (std::size_t g = 0; g < plan->groups().size(); ++g) {
      EXPECT_EQ(plan->GroupsWithin(plan->groups()[g].end), g + 1);
      EXPECT_EQ(plan->GroupsWithin(plan->groups()[g].end - 1), g);
      for (std::size_t r = 0; r < plan->ranks(); ++r) {
        const Range slice = plan->Slice(g, r);
        EXPECT_EQ(slice.begin, at);
        EXPECT_EQ(slice.size() % Layout::kAlignment, 0U);
        at = slice.end;
      }
      EXPECT_EQ(plan->groups()[g].end, at);
    }
    EXPECT_EQ(plan->capacity(), at);
    EXPECT_GE(at, layout.gradient_elements());
    EXPECT_LT(at, layout.gradient_elements() + plan->ranks() * Layout::kAlignment);
  }
}

TEST(GpuSumPlan, MorePartialSumsThanTheKernelTakesAreRefused) {
  const Layout layout(GptTensors(kTinyGpt));
  const auto plan = GpuSumPlan::Make(layout, GpusOf(7, 0, 1000), 8, 512);
  EXPECT_EQ(plan.status().code(), Code::kInvalid);
  EXPECT_NE(plan.status().message().find("a power of two times that of GPUs"), std::string::npos)
      << plan.status().message();
}

}  // namespace
}  // namespace muster::testing
