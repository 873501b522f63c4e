// libmuster_cuda.so on this machine: found and bound at run time.  Its functions: kernels_abi.h,
// model_abi.h.
//
// One per process; any thread.
#pragma once

#include <memory>
#include <string>

#include "runtime/base/result.h"
#include "runtime/gpu/kernels_abi.h"
#include "runtime/gpu/model_abi.h"

namespace muster {

struct GpuKernelsApi {
  decltype(&muster_gpu_abi) abi = nullptr;
  decltype(&muster_gpu_reduce) reduce = nullptr;
  decltype(&muster_gpu_add) add = nullptr;
  decltype(&muster_gpu_combine) combine = nullptr;
  decltype(&muster_gpu_adamw) adamw = nullptr;
  decltype(&muster_gpu_pack) pack = nullptr;
  decltype(&muster_gpu_unpack) unpack = nullptr;
  decltype(&muster_gpu_sum_of_squares) sum_of_squares = nullptr;
  decltype(&muster_gpu_crc32c) crc32c = nullptr;
  decltype(&muster_gpu_matmul) matmul = nullptr;
  decltype(&muster_gpu_embed) embed = nullptr;
  decltype(&muster_gpu_one_hot) one_hot = nullptr;
  decltype(&muster_gpu_layer_norm) layer_norm = nullptr;
  decltype(&muster_gpu_layer_norm_backward) layer_norm_backward = nullptr;
  decltype(&muster_gpu_sum_rows) sum_rows = nullptr;
  decltype(&muster_gpu_gelu) gelu = nullptr;
  decltype(&muster_gpu_gelu_backward) gelu_backward = nullptr;
  decltype(&muster_gpu_heads) heads = nullptr;
  decltype(&muster_gpu_causal_softmax) causal_softmax = nullptr;
  decltype(&muster_gpu_causal_softmax_backward) causal_softmax_backward = nullptr;
  decltype(&muster_gpu_cross_entropy) cross_entropy = nullptr;
};

class GpuKernels {
 public:
  // `path`: that file and no other; empty: MUSTER_CUDA_PLUGIN, else libmuster_cuda.so beside the
  // program, else that of the loader.  kUnavailable: there is none, or it is of another muster.
  static Result<std::shared_ptr<const GpuKernels>> Load(const std::string& path = "");

  const GpuKernelsApi& api() const { return api_; }
  const std::string& path() const { return path_; }

 private:
  GpuKernels() = default;

  GpuKernelsApi api_;
  std::string path_;
};

}  // namespace muster
