// muster_gpu_matmul (kernels_abi.h), through cuBLASLt, which is loaded at the first call: half a
// gigabyte that a program without matmuls of ours does without.
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <map>
#include <tuple>

#include "runtime/base/mutex.h"
#include "runtime/gpu/kernels_abi.h"

namespace muster {
namespace {

constexpr int kNoLibrary = -1;
constexpr int kNoWay = -2;

struct Api {
  decltype(&cublasLtCreate) create = nullptr;
  decltype(&cublasLtMatmul) matmul = nullptr;
  decltype(&cublasLtMatmulDescCreate) desc_create = nullptr;
  decltype(&cublasLtMatmulDescDestroy) desc_destroy = nullptr;
  decltype(&cublasLtMatmulDescSetAttribute) desc_set = nullptr;
  decltype(&cublasLtMatrixLayoutCreate) layout_create = nullptr;
  decltype(&cublasLtMatrixLayoutDestroy) layout_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceCreate) preference_create = nullptr;
  decltype(&cublasLtMatmulPreferenceDestroy) preference_destroy = nullptr;
  decltype(&cublasLtMatmulPreferenceSetAttribute) preference_set = nullptr;
  decltype(&cublasLtMatmulAlgoGetHeuristic) heuristic = nullptr;
  bool whole = false;
};

Api Load() {
  Api api;
  void* library = nullptr;
  for (const char* name : {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11"}) {
    if (library == nullptr) library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  }
  if (library == nullptr) return api;
  api.whole = true;
  const auto bind = [&](const char* name, auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
    api.whole = api.whole && function != nullptr;
  };
  bind("cublasLtCreate", api.create);
  bind("cublasLtMatmul", api.matmul);
  bind("cublasLtMatmulDescCreate", api.desc_create);
  bind("cublasLtMatmulDescDestroy", api.desc_destroy);
  bind("cublasLtMatmulDescSetAttribute", api.desc_set);
  bind("cublasLtMatrixLayoutCreate", api.layout_create);
  bind("cublasLtMatrixLayoutDestroy", api.layout_destroy);
  bind("cublasLtMatmulPreferenceCreate", api.preference_create);
  bind("cublasLtMatmulPreferenceDestroy", api.preference_destroy);
  bind("cublasLtMatmulPreferenceSetAttribute", api.preference_set);
  bind("cublasLtMatmulAlgoGetHeuristic", api.heuristic);
  return api;
}

const Api& TheApi() {
  static const Api kApi = Load();
  return kApi;
}

// What NVIDIA's heuristic chose for a shape, on a device: the same each time, so the bits are, too.
using Shape = std::tuple<int, std::size_t, std::size_t, std::size_t, int, int, int>;
struct Known {
  Mutex mutex;
  std::map<int, cublasLtHandle_t> handles GUARDED_BY(mutex);
  std::map<Shape, cublasLtMatmulAlgo_t> algorithms GUARDED_BY(mutex);
};

Known& TheKnown() {
  static Known known;
  return known;
}

// The descriptors of one call.  Row-major is column-major of the transposed: c^T = b^T * a^T.
class Plan {
 public:
  Plan(const Api& api, const muster_gpu_matmul_call& what) : api_(api) {
    const cudaDataType_t type = what.bf16 != 0 ? CUDA_R_16BF : CUDA_R_32F;
    const bool ta = what.transpose_a != 0;
    const bool tb = what.transpose_b != 0;
    const cublasOperation_t left = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t right = ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    const std::size_t workspace = MUSTER_GPU_MATMUL_WORKSPACE;
    const auto ld = [](std::size_t x) { return static_cast<std::int64_t>(x); };
    const auto make = [&](cublasLtMatrixLayout_t* layout, std::size_t rows, std::size_t columns) {
      good_ = good_ && api_.layout_create(layout, type, rows, columns, ld(rows)) == 0;
    };
    good_ = api_.desc_create(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F) == 0 &&
            api_.desc_set(desc, CUBLASLT_MATMUL_DESC_TRANSA, &left, sizeof left) == 0 &&
            api_.desc_set(desc, CUBLASLT_MATMUL_DESC_TRANSB, &right, sizeof right) == 0;
    make(&b, tb ? what.k : what.n, tb ? what.n : what.k);
    make(&a, ta ? what.m : what.k, ta ? what.k : what.m);
    make(&c, what.n, what.m);
    good_ = good_ && api_.preference_create(&preference) == 0 &&
            api_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                sizeof workspace) == 0;
  }
  ~Plan() {
    if (preference != nullptr) api_.preference_destroy(preference);
    for (cublasLtMatrixLayout_t layout : {a, b, c}) {
      if (layout != nullptr) api_.layout_destroy(layout);
    }
    if (desc != nullptr) api_.desc_destroy(desc);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  bool good() const { return good_; }

  cublasLtMatmulDesc_t desc = nullptr;
  cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
  cublasLtMatmulPreference_t preference = nullptr;

 private:
  const Api& api_;
  bool good_ = true;
};

int Multiply(const Api& api, const muster_gpu_matmul_call& what, void* workspace,
             cudaStream_t stream) {
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return error;
  const Plan plan(api, what);
  if (!plan.good()) return kNoWay;
  Known& known = TheKnown();
  MutexLock lock(known.mutex);
  cublasLtHandle_t& handle = known.handles[device];
  if (handle == nullptr && api.create(&handle) != 0) return kNoLibrary;
  const Shape shape(device, what.m, what.n, what.k, what.transpose_a, what.transpose_b, what.bf16);
  auto algorithm = known.algorithms.find(shape);
  if (algorithm == known.algorithms.end()) {
    cublasLtMatmulHeuristicResult_t found = {};
    int count = 0;
    if (api.heuristic(handle, plan.desc, plan.b, plan.a, plan.c, plan.c, plan.preference, 1, &found,
                      &count) != 0 ||
        count == 0) {
      return kNoWay;
    }
    algorithm = known.algorithms.emplace(shape, found.algo).first;
  }
  const float alpha = 1;
  const float beta = what.accumulate != 0 ? 1 : 0;
  const int status = api.matmul(handle, plan.desc, &alpha, what.b, plan.b, what.a, plan.a, &beta,
                                what.c, plan.c, what.c, plan.c, &algorithm->second, workspace,
                                MUSTER_GPU_MATMUL_WORKSPACE, stream);
  return status == 0 ? 0 : kNoWay;
}

}  // namespace
}  // namespace muster

extern "C" __attribute__((visibility("default"))) int muster_gpu_matmul(
    const muster_gpu_matmul_call* what, void* workspace, void* stream) {
  const muster::Api& api = muster::TheApi();
  if (!api.whole) return muster::kNoLibrary;
  return muster::Multiply(api, *what, workspace, static_cast<cudaStream_t>(stream));
}
