#include "runtime/train/arena.h"

#include "runtime/base/check.h"

namespace muster {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kLine = 64;

std::size_t RoundUp(std::size_t bytes, std::size_t to) {
  return (bytes + to - 1) / to * to;
}

std::size_t PartialsBytes(const Layout& layout) {
  return RoundUp(layout.buckets() * sizeof(double), kPage);
}

std::uint32_t SlotsOf(const Topology& topology, std::uint32_t local_rank) {
  const MicroBatches run = topology.RunOfLocal(topology.node(), local_rank);
  return PlanAccumulation(run, topology.micro_batches()).slots_used;
}

}  // namespace

std::size_t StateView::Bytes(const Layout& layout) {
  return kPage + 3 * layout.elements() * sizeof(float);
}

StateView::StateView(std::span<std::byte> memory, const Layout& layout) {
  CHECK(memory.size() >= Bytes(layout));
  CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % kLine == 0);
  // The bytes may be of an earlier life: the header is looked at, not constructed.
  header_ = reinterpret_cast<StateHeader*>(memory.data());
  body_ = memory.subspan(kPage, 3 * layout.elements() * sizeof(float));
  for (std::size_t i = 0; i < 3; ++i) {
    arrays_[i] = reinterpret_cast<float*>(body_.data()) + i * layout.elements();
  }
}

std::size_t GradientView::Bytes(const Layout& layout, const Topology& topology) {
  std::size_t slots = 0;
  for (std::uint32_t r = 0; r < topology.local_size(); ++r) slots += SlotsOf(topology, r);
  return kPage + PartialsBytes(layout) + slots * layout.gradient_elements() * sizeof(float);
}

GradientView::GradientView(std::span<std::byte> memory, const Layout& layout,
                           const Topology& topology)
    : slot_elements_(layout.gradient_elements()) {
  CHECK(memory.size() >= Bytes(layout, topology));
  CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % kLine == 0);
  barrier_ = memory.data();
  partials_ = {reinterpret_cast<double*>(memory.data() + kPage), layout.buckets()};
  auto* next = reinterpret_cast<float*>(memory.data() + kPage + PartialsBytes(layout));
  for (std::uint32_t r = 0; r < topology.local_size(); ++r) {
    first_slot_.push_back(next);
    next += SlotsOf(topology, r) * slot_elements_;
  }
}

float* GradientView::slot(std::uint32_t local_rank, std::uint32_t slot) const {
  return first_slot_[local_rank] + slot * slot_elements_;
}

}  // namespace muster
