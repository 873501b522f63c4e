#include "examples/byte_gpt/byte_model.h"

#include <algorithm>
#include <vector>

#include "examples/byte_gpt/kernels.h"
#include "runtime/base/check.h"
#include "runtime/train/sampler.h"

namespace muster {
namespace {

constexpr std::size_t kLineMax = 100;
constexpr std::uint64_t kWriting = 0x7772697465;  // The stream of random words for WriteLines.

// Draws a byte from softmax(logits / temperature).
std::uint8_t Draw(std::span<const float> logits, std::uint64_t random) {
  constexpr float kTemperature = 0.7F;
  const float max = *std::max_element(logits.begin(), logits.end());
  std::vector<double> weights;
  double sum = 0;
  for (const float logit : logits) {
    weights.push_back(static_cast<double>(Exp((logit - max) / kTemperature)));
    sum += weights.back();
  }
  double left = static_cast<double>(random >> 11U) / 9007199254740992.0 * sum;  // 2^53
  for (std::size_t byte = 0; byte < weights.size(); ++byte) {
    left -= weights[byte];
    if (left < 0) return static_cast<std::uint8_t>(byte);
  }
  return '\n';
}

}  // namespace

ByteModel::ByteModel(const GptConfig& config, std::string_view text, std::uint64_t seed,
                     std::size_t sequences)
    : config_(config), text_(text), seed_(seed), sequences_(sequences), gpt_(config, sequences) {
  CHECK(text.size() > config.context);
}

// The sequences that each would be a micro-batch of, were there one in each.
float ByteModel::Gradient(const MicroBatch& at, const Layout& layout, const float* parameters,
                          float* gradient, Backward& backward) {
  tokens_.clear();
  targets_.clear();
  for (std::size_t s = 0; s < sequences_; ++s) {
    const auto number = static_cast<std::uint32_t>(at.index * sequences_ + s);
    const std::size_t first = SampleIndex(seed_, at.step, number, text_.size() - config_.context);
    const std::string_view text = text_.substr(first, config_.context + 1);
    tokens_.insert(tokens_.end(), text.begin(), text.end() - 1);
    targets_.insert(targets_.end(), text.begin() + 1, text.end());
  }
  return gpt_.Gradient(layout, parameters, {.tokens = tokens_, .targets = targets_}, gradient,
                       backward);
}

std::string WriteLines(const GptConfig& config, const Layout& layout, const float* parameters,
                       std::uint64_t seed, std::size_t lines) {
  Gpt gpt(config);
  std::string written;
  std::vector<std::uint8_t> past = {'\n'};
  std::uint64_t drawn = 0;
  for (std::size_t line = 0; line < lines;) {
    const std::size_t tail = std::min(past.size(), config.context);
    const auto logits = gpt.Forward(layout, parameters, std::span(past).last(tail));
    const std::uint8_t byte =
        Draw(logits.last(config.vocabulary), RandomWord(seed, kWriting, drawn++));
    past.push_back(byte);
    const std::size_t length = written.size() - (written.rfind('\n') + 1);
    const bool blank = length == 0;
    if (byte == '\n' && blank) continue;  // An empty line says nothing.
    const bool printable = byte >= 0x20 && byte < 0x7F;
    if (byte != '\n') written += printable ? static_cast<char>(byte) : '?';
    if (byte == '\n' || length + 1 >= kLineMax) {
      written += '\n';
      ++line;
    }
  }
  return written;
}

}  // namespace muster
