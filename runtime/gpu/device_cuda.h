// One GPU as a training loop uses it: memory that lives as long as it does, two streams, and marks
// (events) that say what waits for what.
//
// Nothing here waits: a mark is asked whether it was reached.  One thread at a time, which has
// called Use(); the host's functions stand in the program's own order, the GPU's in each stream's.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/gpu/cuda_library_cuda.h"
#include "runtime/gpu/kernels_cuda.h"

namespace muster {

class GpuDevice {
 public:
  // Where to look for the libraries; empty: where each of them says.
  struct Paths {
    std::string cuda, kernels;
  };
  // `device`: of those that this process sees.  kUnavailable: no driver, no GPU or no kernels, and
  // what to do; kInvalid: there are fewer.
  static Result<std::unique_ptr<GpuDevice>> Open(int device, const Paths& paths = {});
  // Frees everything, if the streams have ended; what hangs is left alone.
  ~GpuDevice();
  GpuDevice(const GpuDevice&) = delete;
  GpuDevice& operator=(const GpuDevice&) = delete;

  // The calling thread's calls go to this GPU.
  Status Use() const;
  int number() const { return number_; }
  const GpuKernelsApi& kernels() const { return kernels_->api(); }
  const CudaLibrary& cuda() const { return *cuda_; }
  CudaStream compute() const { return compute_; }
  CudaStream copies() const { return copies_; }
  // Dense bf16, f32 sums, in TFLOP/s, as NVIDIA gives it for the SXM boards; 0: not known.
  double PeakTeraflops() const;

  // Zeroed in the order of the compute stream; 256 bytes aligned.
  Result<std::byte*> Allocate(std::size_t bytes, const std::string& what);
  template <typename T>
  Result<T*> AllocateArray(std::size_t count, const std::string& what) {
    auto memory = Allocate(count * sizeof(T), what);
    if (!memory.ok()) return std::move(memory).status();
    return reinterpret_cast<T*>(*memory);
  }
  // Of the host, zeroed; copies to and from it do not hold up the caller.
  Result<std::byte*> AllocatePinned(std::size_t bytes, const std::string& what);
  // The same for memory that somebody else owns, who lets it go after every device that it was
  // pinned for.
  Status Pin(std::span<std::byte> memory, const std::string& what);
  std::size_t allocated() const { return allocated_; }

  Status Copy(void* to, const void* from, std::size_t bytes, CudaStream stream) const;

  Result<CudaEvent> NewMark();
  Status Mark(CudaEvent mark, CudaStream stream) const;  // Behind what the stream holds now.
  Status Follow(CudaStream stream, CudaEvent mark) const;
  Result<bool> Reached(CudaEvent mark) const;

  // Of a call of CUDA or of a kernel (negative: a matmul that cannot be done).
  Status Check(const std::string& doing, int error) const;

 private:
  GpuDevice() = default;

  int number_ = 0;
  std::shared_ptr<const CudaLibrary> cuda_;
  std::shared_ptr<const GpuKernels> kernels_;
  CudaStream compute_ = nullptr;
  CudaStream copies_ = nullptr;
  std::size_t allocated_ = 0;
  std::vector<void*> memory_, pinned_, registered_;
  std::vector<CudaEvent> marks_;
};

}  // namespace muster
