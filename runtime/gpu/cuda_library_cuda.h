// CUDA's runtime library on this machine: found and bound at run time.
//
// One per process.  Any thread; cudaSetDevice is a thread's own.
#pragma once

#include <memory>
#include <string>

#include "runtime/base/result.h"
#include "runtime/gpu/cuda_api.h"

namespace muster {

class CudaLibrary {
 public:
  // `path`: that file and no other; empty: MUSTER_CUDART_LIBRARY, else libcudart.so.13, .12, .11.0
  // of the loader.  kUnavailable: there is none, or it will not do.
  static Result<std::shared_ptr<const CudaLibrary>> Load(const std::string& path = "");

  const CudaApi& api() const { return api_; }
  const std::string& path() const { return path_; }
  int version() const { return version_; }  // 13000 for 13.0.

  Status StatusOf(const std::string& doing, CudaError error) const;

  // kUnavailable where there is no GPU, or no driver, and why.
  Result<int> CountDevices() const;

 private:
  CudaLibrary() = default;

  CudaApi api_;
  std::string path_;
  int version_ = 0;
};

}  // namespace muster
