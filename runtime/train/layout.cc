#include "runtime/train/layout.h"

#include <algorithm>
#include <bit>
#include <functional>

#include "runtime/base/check.h"

namespace muster {
namespace {

constexpr std::size_t kLeastBucketElements = 1024;
constexpr std::size_t kBucketsWanted = 16;

}  // namespace

std::size_t TensorSpec::elements() const {
  std::size_t product = 1;
  for (const std::uint64_t extent : shape) product *= extent;
  return product;
}

Layout::Layout(std::vector<TensorSpec> in_order_of_use) : tensors_(std::move(in_order_of_use)) {
  offsets_.resize(tensors_.size());
  for (std::size_t i = tensors_.size(); i-- > 0;) {
    offsets_[i] = elements_;
    const std::size_t lines = (tensors_[i].elements() + kAlignment - 1) / kAlignment;
    elements_ += lines * kAlignment;
  }
  CHECK(elements_ > 0);
  bucket_elements_ = std::clamp(std::bit_ceil((elements_ + kBucketsWanted - 1) / kBucketsWanted),
                                kLeastBucketElements, kMostBucketElements);
}

std::size_t Layout::TensorAt(std::size_t element) const {
  CHECK(element < elements_);
  // Offsets fall from tensor to tensor.
  const auto at = std::lower_bound(offsets_.begin(), offsets_.end(), element, std::greater<>());
  return static_cast<std::size_t>(at - offsets_.begin());
}

std::size_t Layout::buckets() const {
  return (elements_ + bucket_elements_ - 1) / bucket_elements_;
}

Range Layout::Bucket(std::size_t bucket) const {
  CHECK(bucket < buckets());
  return {.begin = bucket * bucket_elements_,
          .end = std::min((bucket + 1) * bucket_elements_, elements_)};
}

Range Layout::GradientBucket(std::size_t bucket) const {
  Range range = Bucket(bucket);
  if (bucket + 1 == buckets()) range.end += kTail;
  return range;
}

std::vector<Layout::Piece> Layout::Pieces(Range range) const {
  std::vector<Piece> pieces;
  for (std::size_t i = tensors_.size(); i-- > 0;) {
    const Range cut = {.begin = std::max(range.begin, offsets_[i]),
                       .end = std::min(range.end, offsets_[i] + tensors_[i].elements())};
    if (cut.begin < cut.end) pieces.push_back({.range = cut, .decay = tensors_[i].decay});
  }
  return pieces;
}

}  // namespace muster
