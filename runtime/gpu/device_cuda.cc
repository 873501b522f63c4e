#include "runtime/gpu/device_cuda.h"

#include <cstring>

#include "runtime/base/clock.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr auto kPatience = std::chrono::seconds(2);

const char* MatmulText(int error) {
  return error == -1 ? "no cuBLASLt was found: install NVIDIA's libcublas of this CUDA version"
                     : "cuBLASLt has no way to do a matrix product of this shape";
}

}  // namespace

Result<std::unique_ptr<GpuDevice>> GpuDevice::Open(int device, const Paths& paths) {
  std::unique_ptr<GpuDevice> gpu(new GpuDevice);
  auto cuda = CudaLibrary::Load(paths.cuda);
  if (!cuda.ok()) return std::move(cuda).status();
  gpu->cuda_ = *std::move(cuda);
  const auto count = gpu->cuda_->CountDevices();
  if (!count.ok()) {
    return Status(count.status().code(),
                  count.status().message() +
                      ": install NVIDIA's driver (nvidia-smi must list the GPU), and give a "
                      "container its GPUs");
  }
  if (device < 0 || device >= *count) {
    return Status(Code::kInvalid, "GPU " + std::to_string(device) +
                                      " was asked for; this process sees " +
                                      std::to_string(*count) + " (CUDA_VISIBLE_DEVICES), from 0");
  }
  auto kernels = GpuKernels::Load(paths.kernels);
  if (!kernels.ok()) return std::move(kernels).status();
  gpu->kernels_ = *std::move(kernels);
  gpu->number_ = device;
  RETURN_IF_ERROR(gpu->Use());
  for (CudaStream* stream : {&gpu->compute_, &gpu->copies_}) {
    RETURN_IF_ERROR(gpu->Check(
        "a stream", gpu->cuda_->api().stream_create_with_flags(stream, kCudaStreamNonBlocking)));
  }
  return gpu;
}

GpuDevice::~GpuDevice() {
  if (cuda_ == nullptr || !Use().ok()) return;
  const CudaApi& api = cuda_->api();
  const TimePoint deadline = RealClock().Now() + kPatience;
  for (CudaStream stream : {compute_, copies_}) {
    while (stream != nullptr && api.stream_query(stream) == kCudaNotReady) {
      if (RealClock().Now() >= deadline) return;
    }
  }
  for (void* memory : memory_) static_cast<void>(api.free(memory));
  for (void* memory : pinned_) static_cast<void>(api.free_host(memory));
  for (void* memory : registered_) static_cast<void>(api.host_unregister(memory));
  for (CudaEvent mark : marks_) static_cast<void>(api.event_destroy(mark));
  for (CudaStream stream : {compute_, copies_}) {
    if (stream != nullptr) static_cast<void>(api.stream_destroy(stream));
  }
}

Status GpuDevice::Use() const {
  return Check("choosing GPU " + std::to_string(number_), cuda_->api().set_device(number_));
}

double GpuDevice::PeakTeraflops() const {
  int major = 0;
  int minor = 0;
  const CudaApi& api = cuda_->api();
  static_cast<void>(api.device_get_attribute(&major, kCudaComputeCapabilityMajor, number_));
  static_cast<void>(api.device_get_attribute(&minor, kCudaComputeCapabilityMinor, number_));
  if (major == 9 && minor == 0) return 989.4;  // H100, H200.
  if (major == 8 && minor == 0) return 312;    // A100.
  return 0;
}

Result<std::byte*> GpuDevice::Allocate(std::size_t bytes, const std::string& what) {
  void* memory = nullptr;
  const CudaError error = cuda_->api().malloc(&memory, bytes);
  if (error != kCudaSuccess) {
    const Status status = Check("memory", error);
    return Status(Code::kExhausted, "GPU " + std::to_string(number_) + " has no " +
                                        HumanBytes(bytes) + " for " + what + " beside the " +
                                        HumanBytes(allocated_) + " that are taken (" +
                                        status.message() + "): take a smaller model or batch");
  }
  memory_.push_back(memory);
  allocated_ += bytes;
  RETURN_IF_ERROR(Check("zeroing", cuda_->api().memset_async(memory, 0, bytes, compute_)));
  return static_cast<std::byte*>(memory);
}

Result<std::byte*> GpuDevice::AllocatePinned(std::size_t bytes, const std::string& what) {
  void* memory = nullptr;
  RETURN_IF_ERROR(Check("pinned memory for " + what, cuda_->api().host_alloc(&memory, bytes, 0)));
  pinned_.push_back(memory);
  std::memset(memory, 0, bytes);
  return static_cast<std::byte*>(memory);
}

Status GpuDevice::Pin(std::span<std::byte> memory, const std::string& what) {
  const CudaError error =
      cuda_->api().host_register(memory.data(), memory.size(), kCudaHostRegisterPortable);
  if (error == kCudaHostMemoryAlreadyRegistered) {
    // By another rank that is a thread of this process.
    static_cast<void>(cuda_->api().get_last_error());
    return {};
  }
  RETURN_IF_ERROR(Check("pinning " + HumanBytes(memory.size()) + " of " + what, error));
  registered_.push_back(memory.data());
  return {};
}

Status GpuDevice::Copy(void* to, const void* from, std::size_t bytes, CudaStream stream) const {
  return Check("a copy", cuda_->api().memcpy_async(to, from, bytes, kCudaMemcpyDefault, stream));
}

Result<CudaEvent> GpuDevice::NewMark() {
  CudaEvent mark = nullptr;
  RETURN_IF_ERROR(
      Check("an event", cuda_->api().event_create_with_flags(&mark, kCudaEventDisableTiming)));
  marks_.push_back(mark);
  return mark;
}

Status GpuDevice::Mark(CudaEvent mark, CudaStream stream) const {
  return Check("an event", cuda_->api().event_record(mark, stream));
}

Status GpuDevice::Follow(CudaStream stream, CudaEvent mark) const {
  return Check("an event", cuda_->api().stream_wait_event(stream, mark, 0));
}

Result<bool> GpuDevice::Reached(CudaEvent mark) const {
  const CudaError error = cuda_->api().event_query(mark);
  if (error == kCudaNotReady) return false;
  RETURN_IF_ERROR(Check("waiting for GPU " + std::to_string(number_), error));
  return true;
}

Status GpuDevice::Check(const std::string& doing, int error) const {
  if (error >= 0) return cuda_->StatusOf(doing, CudaError{error});
  return Status(error == -1 ? Code::kUnavailable : Code::kUnimplemented,
                doing + ": " + MatmulText(error));
}

}  // namespace muster
