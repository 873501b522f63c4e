// Memory and events of one GPU for what is under way: taken, given back, and freed only at the end,
// since freeing may wait for everything that runs on the device.
//
// Any thread whose device it is.
#pragma once

#include <memory>
#include <vector>

#include "runtime/base/mutex.h"
#include "runtime/gpu/cuda_library_cuda.h"

namespace muster {

class Scratch {
 public:
  explicit Scratch(std::shared_ptr<const CudaLibrary> cuda) : cuda_(std::move(cuda)) {}
  // Frees what was given back.
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  enum class Place { kDevice, kPinned };
  struct Block {
    std::byte* memory = nullptr;
    std::size_t bytes = 0;
    Place place = Place::kDevice;
  };
  // At least so many bytes; page aligned on the device.
  Result<Block> Take(Place place, std::size_t bytes);
  void Give(const Block& block);

  Result<CudaEvent> TakeEvent();
  void GiveEvent(CudaEvent event);

  // The device hangs: what is freed would wait.  From now on nothing is.
  void Abandon();

 private:
  const std::shared_ptr<const CudaLibrary> cuda_;
  Mutex mutex_;
  std::vector<Block> blocks_ GUARDED_BY(mutex_);
  std::vector<CudaEvent> events_ GUARDED_BY(mutex_);
  bool abandoned_ GUARDED_BY(mutex_) = false;
};

}  // namespace muster
