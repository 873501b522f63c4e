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
    loss += model.Gradient(0, m, layout, parameters.data(), gradient.data()) / 16.0;
  }
  EXPECT_NEAR(loss, std::log(256.0), 0.05);
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
    return static_cast<double>(
        gpt.Gradient(layout, at.data(), bytes.first(16), bytes.subspan(1), into.data()));
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
  model.Gradient(3, 5, layout, parameters.data(), clean.data());
  model.Gradient(4, 6, layout, parameters.data(), dirty.data());
  model.Gradient(3, 5, layout, parameters.data(), dirty.data());
  EXPECT_EQ(std::memcmp(clean.data(), dirty.data(), clean.size() * sizeof(float)), 0);
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
