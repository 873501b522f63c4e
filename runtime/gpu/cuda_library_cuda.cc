#include "runtime/gpu/cuda_library_cuda.h"

#include <type_traits>
#include <vector>

#include "runtime/base/dynamic_library_posix.h"
#include "runtime/base/env_posix.h"

namespace muster {
namespace {

constexpr int kOldest = 11020;

std::string VersionText(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

}  // namespace

Result<std::shared_ptr<const CudaLibrary>> CudaLibrary::Load(const std::string& path) {
  std::vector<std::string> candidates = {path};
  if (path.empty()) {
    const auto named = GetEnv("MUSTER_CUDART_LIBRARY");
    candidates =
        named ? std::vector{*named}
              : std::vector<std::string>{"libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0"};
  }
  auto opened = DynamicLibrary::Open(candidates);
  if (!opened.ok()) {
    return Status(Code::kUnavailable,
                  "no CUDA runtime: " + opened.status().message() +
                      "; 11.2 or later will do: install it, or name the file in "
                      "MUSTER_CUDART_LIBRARY");
  }
  std::shared_ptr<CudaLibrary> library(new CudaLibrary);
  library->path_ = opened->path();
  std::string missing;
  ForEachCudaSymbol(library->api_, [&](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(opened->Find(name));
    if (function == nullptr) missing += (missing.empty() ? "" : ", ") + std::string(name);
  });
  if (!missing.empty()) {
    return Status(Code::kUnavailable,
                  library->path_ + " lacks " + missing +
                      ": it is no CUDA runtime of 11.2 or later; name another file in "
                      "MUSTER_CUDART_LIBRARY");
  }
  RETURN_IF_ERROR(library->StatusOf("cudaRuntimeGetVersion",
                                    library->api_.runtime_get_version(&library->version_)));
  if (library->version_ < kOldest) {
    return Status(Code::kUnavailable,
                  "found CUDA " + VersionText(library->version_) + " (" + library->path_ +
                      "), which is too old; 11.2 or later will do: install it, or name another "
                      "file in MUSTER_CUDART_LIBRARY");
  }
  return std::shared_ptr<const CudaLibrary>(std::move(library));
}

Status CudaLibrary::StatusOf(const std::string& doing, CudaError error) const {
  if (error == kCudaSuccess) return {};
  static_cast<void>(api_.get_last_error());  // Else the next call may report it again.
  const bool absent = error == kCudaNoDevice || error == kCudaInsufficientDriver;
  return Status(absent ? Code::kUnavailable : Code::kInternal,
                doing + ": " + api_.get_error_string(error) + " (CUDA error " +
                    std::to_string(static_cast<int>(error)) + ")");
}

Result<int> CudaLibrary::CountDevices() const {
  int count = 0;
  RETURN_IF_ERROR(StatusOf("looking for GPUs", api_.get_device_count(&count)));
  if (count == 0) return Status(Code::kUnavailable, "looking for GPUs: there is none");
  return count;
}

}  // namespace muster
