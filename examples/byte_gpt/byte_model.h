// The byte GPT as a Model (runtime/train): a micro-batch is a few sequences of `context` bytes,
// drawn from the text by the sampler.  One instance per rank; the text is shared and outlives it.
#pragma once

#include <string_view>
#include <vector>

#include "examples/byte_gpt/gpt.h"
#include "runtime/train/model.h"

namespace muster {

class ByteModel final : public Model {
 public:
  // The text has more than `context` bytes.
  ByteModel(const GptConfig& config, std::string_view text, std::uint64_t seed,
            std::size_t sequences = 1);

  std::vector<TensorSpec> Tensors() const override { return GptTensors(config_); }
  void Initialize(std::uint64_t seed, const Layout& layout, float* parameters) const override {
    InitializeGpt(config_, seed, layout, parameters);
  }
  float Gradient(const MicroBatch& at, const Layout& layout, const float* parameters,
                 float* gradient, Backward& backward) override;
  std::uint64_t tokens_per_micro_batch() const override { return sequences_ * config_.context; }

 private:
  const GptConfig config_;
  const std::string_view text_;
  const std::uint64_t seed_;
  const std::size_t sequences_;  // Of a micro-batch.
  std::vector<std::uint8_t> tokens_, targets_;
  Gpt gpt_;
};

// `lines` lines that the model writes after a line break; unprintable bytes are shown as '?'.
std::string WriteLines(const GptConfig& config, const Layout& layout, const float* parameters,
                       std::uint64_t seed, std::size_t lines);

}  // namespace muster
