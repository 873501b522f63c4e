#include "runtime/comm/scratch_nccl.h"

#include <algorithm>
#include <bit>

namespace muster {
namespace {

constexpr std::size_t kSmallest = 4096;

}  // namespace

Scratch::~Scratch() {
  MutexLock lock(mutex_);
  if (abandoned_) return;
  for (const Block& block : blocks_) {
    static_cast<void>(block.place == Place::kDevice ? cuda_->api().free(block.memory)
                                                    : cuda_->api().free_host(block.memory));
  }
  for (CudaEvent event : events_) static_cast<void>(cuda_->api().event_destroy(event));
}

Result<Scratch::Block> Scratch::Take(Place place, std::size_t bytes) {
  const std::size_t size = std::bit_ceil(std::max(bytes, kSmallest));
  {
    MutexLock lock(mutex_);
    const auto same = std::find_if(blocks_.begin(), blocks_.end(), [&](const Block& block) {
      return block.place == place && block.bytes == size;
    });
    if (same != blocks_.end()) {
      const Block block = *same;
      blocks_.erase(same);
      return block;
    }
  }
  void* memory = nullptr;
  if (place == Place::kDevice) {
    RETURN_IF_ERROR(cuda_->StatusOf("memory of the GPU, " + std::to_string(size) + " bytes",
                                    cuda_->api().malloc(&memory, size)));
  } else {
    RETURN_IF_ERROR(cuda_->StatusOf("pinned memory, " + std::to_string(size) + " bytes",
                                    cuda_->api().host_alloc(&memory, size, 0)));
  }
  return Block{.memory = static_cast<std::byte*>(memory), .bytes = size, .place = place};
}

void Scratch::Give(const Block& block) {
  MutexLock lock(mutex_);
  blocks_.push_back(block);
}

Result<CudaEvent> Scratch::TakeEvent() {
  {
    MutexLock lock(mutex_);
    if (!events_.empty()) {
      CudaEvent event = events_.back();
      events_.pop_back();
      return event;
    }
  }
  CudaEvent event = nullptr;
  RETURN_IF_ERROR(cuda_->StatusOf(
      "an event", cuda_->api().event_create_with_flags(&event, kCudaEventDisableTiming)));
  return event;
}

void Scratch::GiveEvent(CudaEvent event) {
  MutexLock lock(mutex_);
  events_.push_back(event);
}

void Scratch::Abandon() {
  MutexLock lock(mutex_);
  abandoned_ = true;
}

}  // namespace muster
