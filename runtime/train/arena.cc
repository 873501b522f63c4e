#include "runtime/train/arena.h"

#include <utility>

#include "runtime/base/check.h"

namespace muster {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kLine = 64;

std::size_t RoundUp(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}

std::size_t HeadBytes(const Topology& topology) {
  return RoundUp(kLine + topology.local_size() * (kLine + sizeof(std::uint64_t)), kPage);
}

std::size_t SumsBytes(const Layout& layout) {
  return RoundUp(layout.buckets() * sizeof(BucketSum), kPage);
}

}  // namespace

std::size_t StateView::Bytes(const Layout& layout, Range shard) {
  return kPage + (layout.elements() + 2 * shard.size()) * sizeof(float);
}

StateView::StateView(std::span<std::byte> memory, const Layout& layout, Range shard) {
  CHECK(memory.size() >= Bytes(layout, shard));
  CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % kLine == 0);
  // The bytes may be of an earlier life: the header is looked at, not constructed.
  header_ = reinterpret_cast<StateHeader*>(memory.data());
  body_ = memory.subspan(kPage, Bytes(layout, shard) - kPage);
  auto* next = reinterpret_cast<float*>(body_.data());
  const Range ranges[] = {{.begin = 0, .end = layout.elements()}, shard, shard};
  for (std::size_t i = 0; i < kArrays; ++i) {
    arrays_[i] = {.values = next, .range = ranges[i]};
    next += ranges[i].size();
  }
}

std::size_t GradientView::Bytes(const Layout& layout, const Topology& topology, bool working_copy) {
  std::size_t slots = 0;
  for (std::uint32_t r = 0; r < topology.local_size(); ++r) slots += topology.PlanOf(r).slots_used;
  return HeadBytes(topology) + SumsBytes(layout) +
         (slots * layout.gradient_elements() + (working_copy ? layout.elements() : 0)) *
             sizeof(float);
}

GradientView::GradientView(std::span<std::byte> memory, const Layout& layout,
                           const Topology& topology, bool working_copy)
    : slot_elements_(layout.gradient_elements()) {
  CHECK(memory.size() >= Bytes(layout, topology, working_copy));
  CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % kLine == 0);
  const std::size_t ranks = topology.local_size();
  barrier_ = memory.data();
  lines_ = memory.subspan(kLine, ranks * kLine);
  greetings_ = {reinterpret_cast<std::uint64_t*>(memory.data() + (1 + ranks) * kLine), ranks};
  std::byte* at = memory.data() + HeadBytes(topology);
  sums_ = {reinterpret_cast<BucketSum*>(at), layout.buckets()};
  auto* next = reinterpret_cast<float*>(at + SumsBytes(layout));
  if (working_copy) working_copy_ = std::exchange(next, next + layout.elements());
  for (std::uint32_t r = 0; r < topology.local_size(); ++r) {
    first_slot_.push_back(next);
    next += topology.PlanOf(r).slots_used * slot_elements_;
  }
}

float* GradientView::slot(std::uint32_t local_rank, std::uint32_t slot) const {
  return first_slot_[local_rank] + slot * slot_elements_;
}

}  // namespace muster
