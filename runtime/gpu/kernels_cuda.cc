#include "runtime/gpu/kernels_cuda.h"

#include <type_traits>
#include <vector>

#include "runtime/base/dynamic_library_posix.h"
#include "runtime/base/env_posix.h"

namespace muster {
namespace {

template <typename Visit>
void ForEachKernel(GpuKernelsApi& api, Visit visit) {
  visit("muster_gpu_abi", api.abi);
  visit("muster_gpu_reduce", api.reduce);
  visit("muster_gpu_add", api.add);
  visit("muster_gpu_combine", api.combine);
  visit("muster_gpu_adamw", api.adamw);
  visit("muster_gpu_pack", api.pack);
  visit("muster_gpu_unpack", api.unpack);
  visit("muster_gpu_sum_of_squares", api.sum_of_squares);
  visit("muster_gpu_crc32c", api.crc32c);
  visit("muster_gpu_matmul", api.matmul);
  visit("muster_gpu_embed", api.embed);
  visit("muster_gpu_one_hot", api.one_hot);
  visit("muster_gpu_layer_norm", api.layer_norm);
  visit("muster_gpu_layer_norm_backward", api.layer_norm_backward);
  visit("muster_gpu_sum_rows", api.sum_rows);
  visit("muster_gpu_gelu", api.gelu);
  visit("muster_gpu_gelu_backward", api.gelu_backward);
  visit("muster_gpu_heads", api.heads);
  visit("muster_gpu_causal_softmax", api.causal_softmax);
  visit("muster_gpu_causal_softmax_backward", api.causal_softmax_backward);
  visit("muster_gpu_cross_entropy", api.cross_entropy);
}

std::vector<std::string> Candidates(const std::string& path) {
  if (!path.empty()) return {path};
  if (const auto named = GetEnv("MUSTER_CUDA_PLUGIN")) return {*named};
  return {DynamicLibrary::BesideProgram("libmuster_cuda.so"), "libmuster_cuda.so"};
}

}  // namespace

Result<std::shared_ptr<const GpuKernels>> GpuKernels::Load(const std::string& path) {
  auto opened = DynamicLibrary::Open(Candidates(path));
  if (!opened.ok()) {
    return Status(Code::kUnavailable,
                  "no GPU kernels: " + opened.status().message() +
                      "; build muster where nvcc is (./dev gpu), or name its libmuster_cuda.so in "
                      "MUSTER_CUDA_PLUGIN");
  }
  std::shared_ptr<GpuKernels> kernels(new GpuKernels);
  kernels->path_ = opened->path();
  bool whole = true;
  ForEachKernel(kernels->api_, [&](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(opened->Find(name));
    whole = whole && function != nullptr;
  });
  if (!whole || kernels->api_.abi() != MUSTER_GPU_ABI) {
    return Status(Code::kUnavailable,
                  kernels->path_ + " is of another muster than this program (" +
                      (whole ? "interface " + std::to_string(kernels->api_.abi()) + ", not " +
                                   std::to_string(MUSTER_GPU_ABI)
                             : "functions are missing") +
                      "): build both together");
  }
  return std::shared_ptr<const GpuKernels>(std::move(kernels));
}

}  // namespace muster
