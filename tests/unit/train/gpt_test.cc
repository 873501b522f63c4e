#include "examples/byte_gpt/gpt.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "examples/byte_gpt/byte_model.h"
#include "examples/byte_gpt/kernels.h"

namespace muster {
namespace {

TEST(Gpt, HasExactly834304Parameters) {
  std::size_t count = 0;
  for (const TensorSpec& tensor : GptTensors({})) count += tensor.elements();
  EXPECT_EQ(count, 834304U);
}

std::string RandomText(std::size_t n) {
  std::mt19937 random(7);
  std::string text(n, ' ');
  for (char& c : text) c = static_cast<char>(random() % 256);
  return text;
}

float GradientOf(ByteModel& model, const MicroBatch& at, const Layout& layout,
                 const std::vector<float>& parameters, std::vector<float>& into) {
  Backward backward(layout);
  backward.Open(at, 1, {});
  const float loss = model.Gradient(at, layout, parameters.data(), into.data(), backward);
  const Status told = backward.Close();
  EXPECT_TRUE(told.ok()) << told.message();
  return loss;
}

TEST(Gpt, AFreshModelsLossIsLn256) {
  const GptConfig config;
  const Layout layout(GptTensors(config));
  std::vector<float> parameters(layout.elements());
  std::vector<float> gradient(layout.gradient_elements());
  const std::string text = RandomText(1000);
  ByteModel model(config, text, 42);
  model.Initialize(42, layout, parameters.data());
  double loss = 0;
  for (std::uint32_t m = 0; m < 16; ++m) {
    loss += GradientOf(model, {.step = 0, .index = m}, layout, parameters, gradient) / 16.0;
  }
  EXPECT_NEAR(loss, std::log(256.0), 0.05);
}

// Several sequences at once: the mean of what each of them alone would be, from the same bytes.
TEST(Gpt, AMicroBatchOfSeveralSequencesIsTheirMean) {
  constexpr std::uint32_t kSequences = 3;
  const GptConfig config{.layers = 2, .width = 32, .heads = 2, .context = 16};
  const Layout layout(GptTensors(config));
  const std::string text = RandomText(1000);
  ByteModel together(config, text, 42, kSequences);
  ByteModel alone(config, text, 42);
  EXPECT_EQ(together.tokens_per_micro_batch(), kSequences * alone.tokens_per_micro_batch());
  std::vector<float> parameters(layout.elements());
  together.Initialize(42, layout, parameters.data());
  std::vector<float> gradient(layout.gradient_elements());
  const float loss = GradientOf(together, {.step = 3, .index = 2}, layout, parameters, gradient);
  double mean_loss = 0;
  std::vector<float> mean(layout.gradient_elements());
  std::vector<float> one(layout.gradient_elements());
  for (std::uint32_t s = 0; s < kSequences; ++s) {
    const MicroBatch at{.step = 3, .index = 2 * kSequences + s};
    mean_loss += static_cast<double>(GradientOf(alone, at, layout, parameters, one)) / kSequences;
    for (std::size_t i = 0; i < layout.elements(); ++i) mean[i] += one[i] / kSequences;
  }
  EXPECT_NEAR(loss, mean_loss, 1e-5);
  double error = 0;
  double norm = 0;
  for (std::size_t i = 0; i < layout.elements(); ++i) {
    error += std::pow(static_cast<double>(gradient[i] - mean[i]), 2);
    norm += std::pow(static_cast<double>(mean[i]), 2);
  }
  EXPECT_LT(std::sqrt(error / norm), 1e-5);
}

// Along a random direction in each tensor, the loss changes as the gradient says.
TEST(Gpt, GradientAgreesWithFiniteDifferencesInEveryTensor) {
  const GptConfig config{.layers = 2, .width = 32, .heads = 2, .context = 16};
  const Layout layout(GptTensors(config));
  std::mt19937 random(11);
  std::normal_distribution<float> normal;
  std::vector<float> parameters(layout.elements());
  InitializeGpt(config, 1, layout, parameters.data());
  // Away from the start, where many gradients are almost zero.
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    for (std::size_t e = 0; e < layout.tensors()[i].elements(); ++e) {
      parameters[layout.offset(i) + e] += 0.15F * normal(random);
    }
  }
  std::vector<float> gradient(layout.gradient_elements());
  std::vector<float> unused(layout.gradient_elements());
  const std::string text = RandomText(17);
  const std::span bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  Gpt gpt(config);
  const auto loss_at = [&](const std::vector<float>& at, std::vector<float>& into) {
    Backward backward(layout);
    backward.Open({}, 1, {});
    return static_cast<double>(
        gpt.Gradient(layout, at.data(), {.tokens = bytes.first(16), .targets = bytes.subspan(1)},
                     into.data(), backward));
  };
  loss_at(parameters, gradient);
  for (std::size_t i = 0; i < layout.tensors().size(); ++i) {
    const TensorSpec& tensor = layout.tensors()[i];
    std::vector<float> up = parameters;
    std::vector<float> down = parameters;
    double predicted = 0;
    double length = 0;
    // Mostly along the gradient, so that the change is large beside f32's rounding.
    std::vector<float> direction(tensor.elements());
    double largest = 0;
    for (std::size_t e = 0; e < direction.size(); ++e) {
      largest = std::max(largest, std::abs(static_cast<double>(gradient[layout.offset(i) + e])));
    }
    for (std::size_t e = 0; e < direction.size(); ++e) {
      const float g = gradient[layout.offset(i) + e];
      direction[e] = g + 0.3F * static_cast<float>(largest) * normal(random);
      length += static_cast<double>(direction[e]) * direction[e];
    }
    const double step = 0.01 / std::sqrt(length);
    for (std::size_t e = 0; e < direction.size(); ++e) {
      const std::size_t at = layout.offset(i) + e;
      const float delta = static_cast<float>(step) * direction[e];
      up[at] += delta;
      down[at] -= delta;
      predicted += static_cast<double>(gradient[at]) *
                   (static_cast<double>(up[at]) - static_cast<double>(down[at]));
    }
    const double change = loss_at(up, unused) - loss_at(down, unused);
    EXPECT_NEAR(change, predicted, 0.01 * std::abs(predicted) + 1e-6) << tensor.name;
    EXPECT_GT(std::abs(predicted), 1e-5) << tensor.name;  // Else this compares noise.
  }
}

TEST(Gpt, GradientIsWrittenWholeAndRepeatsItsBits) {
  const GptConfig config;
  const Layout layout(GptTensors(config));
  std::vector<float> parameters(layout.elements());
  const std::string text = RandomText(500);
  ByteModel model(config, text, 42);
  model.Initialize(42, layout, parameters.data());
  std::vector<float> clean(layout.elements(), 0.0F);
  std::vector<float> dirty(layout.elements(), 123.0F);
  GradientOf(model, {.step = 3, .index = 5}, layout, parameters, clean);
  GradientOf(model, {.step = 4, .index = 6}, layout, parameters, dirty);
  GradientOf(model, {.step = 3, .index = 5}, layout, parameters, dirty);
  EXPECT_EQ(std::memcmp(clean.data(), dirty.data(), clean.size() * sizeof(float)), 0);
}

// As soon as a tensor is told, its gradient is what it will be in the end.
TEST(Gpt, WhatIsToldToBeFinalDoesNotChangeAnyMore) {
  const GptConfig config;
  const Layout layout(GptTensors(config));
  std::vector<float> parameters(layout.elements());
  const std::string text = RandomText(500);
  ByteModel model(config, text, 42);
  model.Initialize(42, layout, parameters.data());
  std::vector<float> gradient(layout.elements());
  std::vector<float> seen(layout.elements(), -1.0F);
  std::size_t frontier = 0;
  int moves = 0;
  Backward backward(layout);
  backward.Open({}, 1, {.reached = [&](std::size_t elements) {
                  std::copy(gradient.begin() + static_cast<std::ptrdiff_t>(frontier),
                            gradient.begin() + static_cast<std::ptrdiff_t>(elements),
                            seen.begin() + static_cast<std::ptrdiff_t>(frontier));
                  frontier = elements;
                  ++moves;
                }});
  model.Gradient({}, layout, parameters.data(), gradient.data(), backward);
  ASSERT_TRUE(backward.Close().ok());
  EXPECT_EQ(frontier, layout.elements());
  EXPECT_GE(moves, 40);  // Nearly every one of 52 tensors: in the order of the layout.
  EXPECT_EQ(std::memcmp(seen.data(), gradient.data(), seen.size() * sizeof(float)), 0);
}

// A power of two leaves the bits as they are.
TEST(Gpt, TheLossScaleScalesTheGradientAndNotTheLoss) {
  const GptConfig config{.layers = 1, .width = 32, .heads = 2, .context = 16};
  const Layout layout(GptTensors(config));
  std::vector<float> parameters(layout.elements());
  InitializeGpt(config, 1, layout, parameters.data());
  const std::string text = RandomText(17);
  const std::span bytes(reinterpret_cast<const std::uint8_t*>(text.data()), text.size());
  Gpt gpt(config);
  std::vector<float> plain(layout.elements());
  std::vector<float> scaled(layout.elements());
  float losses[2] = {};
  for (const bool scales : {false, true}) {
    Backward backward(layout);
    backward.Open({}, scales ? 1024.0F : 1.0F, {});
    losses[scales ? 1 : 0] = gpt.Gradient(layout, parameters.data(),
                                          {.tokens = bytes.first(16), .targets = bytes.subspan(1)},
                                          scales ? scaled.data() : plain.data(), backward);
  }
  EXPECT_EQ(losses[0], losses[1]);
  for (std::size_t i = 0; i < plain.size(); ++i) ASSERT_EQ(plain[i] * 1024, scaled[i]) << i;
}

TEST(Kernels, ExpAndLogAreAccurate) {
  for (int i = -8000; i <= 8000; ++i) {
    const float x = static_cast<float>(i) / 100;
    const double expected = std::exp(static_cast<double>(x));
    EXPECT_NEAR(Exp(x) / expected, 1, 3e-7) << x;
    EXPECT_NEAR(NaturalLog(expected), static_cast<double>(x), 1e-13) << x;
  }
}

TEST(Kernels, ALaterByteDoesNotChangeAnEarlierPrediction) {
  const GptConfig config;
  const Layout layout(GptTensors(config));
  std::vector<float> parameters(layout.elements());
  InitializeGpt(config, 9, layout, parameters.data());
  std::vector<std::uint8_t> bytes(64, 'a');
  Gpt gpt(config);
  const auto first = gpt.Forward(layout, parameters.data(), bytes);
  const std::vector<float> before(first.begin(), first.begin() + std::ptrdiff_t{63} * 256);
  bytes[63] = 'z';
  const auto second = gpt.Forward(layout, parameters.data(), bytes);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), second.begin()));
}

}  // namespace
}  // namespace muster
