// Where each tensor lies in the flat vectors of parameters, gradients and optimizer state.
//
// Tensors lie in reverse order of use, as the backward pass finishes them.  A vector is cut into
// buckets of bucket_elements(): the unit of reduction, of the norm's partial sums and of the
// optimizer.  A short vector has shorter ones, so that there is one for each of a node's ranks.
// A gradient has a tail behind its elements that is reduced along with it: sums that every rank
// needs after each step.  Pure values; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace muster {

struct TensorSpec {
  std::string name;
  std::vector<std::uint64_t> shape;
  bool decay = false;  // Subject to weight decay.

  std::size_t elements() const;
  bool operator==(const TensorSpec&) const = default;
};

// Elements [begin, end) of a flat vector.
struct Range {
  std::size_t begin = 0;
  std::size_t end = 0;
  std::size_t size() const { return end - begin; }
  bool operator==(const Range&) const = default;
};

// The elements `range` of a flat vector; values[0] is that of range.begin.
struct ArrayPart {
  float* values = nullptr;
  Range range;
  float* at(std::size_t element) const { return values + (element - range.begin); }
};

class Layout {
 public:
  static constexpr std::size_t kMostBucketElements = 65536;
  static constexpr std::size_t kAlignment = 16;  // Floats: one cache line.
  static constexpr std::size_t kTail = 16;
  static constexpr std::size_t kTailLoss = 0;    // Sum of the micro-batches' losses.
  static constexpr std::size_t kTailStop = 1;    // More than 0: some rank was asked to stop.
  static constexpr std::size_t kTailStaged = 2;  // On GPUs: ranks whose last save is staged.

  explicit Layout(std::vector<TensorSpec> in_order_of_use);

  const std::vector<TensorSpec>& tensors() const { return tensors_; }
  std::size_t offset(std::size_t tensor) const { return offsets_[tensor]; }
  std::size_t elements() const { return elements_; }
  std::size_t gradient_elements() const { return elements_ + kTail; }
  std::size_t tail() const { return elements_; }
  // The tensor that has this element, or the padding behind whose it is.
  std::size_t TensorAt(std::size_t element) const;

  std::size_t bucket_elements() const { return bucket_elements_; }  // A power of two.
  std::size_t buckets() const;
  Range Bucket(std::size_t bucket) const;          // Of parameters.
  Range GradientBucket(std::size_t bucket) const;  // The last one has the tail, too.

  // The parts of `range` that belong to tensors with or without weight decay, in order.
  struct Piece {
    Range range;
    bool decay = false;
  };
  std::vector<Piece> Pieces(Range range) const;

 private:
  std::vector<TensorSpec> tensors_;
  std::vector<std::size_t> offsets_;
  std::size_t elements_ = 0;
  std::size_t bucket_elements_ = 0;
};

}  // namespace muster
