#include "runtime/train/gpu_staging_cuda.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace muster {

Result<std::unique_ptr<GpuStaging>> GpuStaging::Make(GpuDevice& device) {
  std::unique_ptr<GpuStaging> staging(new GpuStaging(device));
  for (CudaEvent* mark : {&staging->changed_, &staging->copied_}) {
    auto made = device.NewMark();
    if (!made.ok()) return std::move(made).status();
    *mark = *made;
  }
  return staging;
}

Status GpuStaging::Begin(std::span<const Run> runs, Range bytes, std::byte* to) {
  CHECK(!busy_);
  RETURN_IF_ERROR(device_.Mark(changed_, device_.compute()));
  RETURN_IF_ERROR(device_.Follow(device_.copies(), changed_));
  std::size_t at = 0;
  for (const Run& run : runs) {
    const std::size_t size = run.elements * sizeof(float);
    const std::size_t begin = std::max(at, bytes.begin);
    const std::size_t end = std::min(at + size, bytes.end);
    if (begin < end) {
      const auto* from = reinterpret_cast<const std::byte*>(run.from) + (begin - at);
      RETURN_IF_ERROR(device_.Copy(to + begin, from, end - begin, device_.copies()));
    }
    at += size;
  }
  busy_ = true;
  return device_.Mark(copied_, device_.copies());
}

Result<bool> GpuStaging::TakeEnd() {
  if (!busy_) return false;
  auto reached = device_.Reached(copied_);
  if (reached.ok() && *reached) busy_ = false;
  return reached;
}

}  // namespace muster
