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
  decltype(&cublasLtMatrixLayoutSetAttribute) layout_set = nullptr;
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
  bind("cublasLtMatrixLayoutSetAttribute", api.layout_set);
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
using Shape =
    std::tuple<int, std::size_t, std::size_t, std::size_t, std::size_t, int, int, int, bool>;
struct Known {
  Mutex mutex;
  std::map<int, cublasLtHandle_t> handles GUARDED_BY(mutex);
  std::map<Shape, cublasLtMatmulAlgo_t> algorithms GUARDED_BY(mutex);
};

Known& TheKnown() {
  static Known known;
  return known;
}

std::size_t BatchOf(const muster_gpu_matmul_call& what) {
  return what.batch == 0 ? 1 : what.batch;
}

// The descriptors of one call.  Row-major is column-major of the transposed: c^T = b^T * a^T.
class Plan {
 public:
  Plan(const Api& api, const muster_gpu_matmul_call& what) : api_(api) {
    const bool ta = what.transpose_a != 0;
    const bool tb = what.transpose_b != 0;
    const cublasOperation_t left = tb ? CUBLAS_OP_T : CUBLAS_OP_N;
    const cublasOperation_t right = ta ? CUBLAS_OP_T : CUBLAS_OP_N;
    Check(api_.desc_create(&desc, CUBLAS_COMPUTE_32F, CUDA_R_32F));
    Set(CUBLASLT_MATMUL_DESC_TRANSA, left);
    Set(CUBLASLT_MATMUL_DESC_TRANSB, right);
    if (what.bias != nullptr) {
      // One value for each row of c^T.
      Set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
      Set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, what.bias);
    }
    MakeLayout(&b, what, tb ? what.k : what.n, tb ? what.n : what.k);
    MakeLayout(&a, what, ta ? what.m : what.k, ta ? what.k : what.m);
    MakeLayout(&c, what, what.n, what.m);
    Check(api_.preference_create(&preference));
    Prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
           static_cast<std::size_t>(MUSTER_GPU_MATMUL_WORKSPACE));
    // Sums that are split are added up in one order.
    Prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
           static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
    // What kernels_abi.h asks for; the library would take 256 for granted.
    for (const auto alignment :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES}) {
      Prefer(alignment, std::uint32_t{16});
    }
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
  void Check(cublasStatus_t status) { good_ = good_ && status == CUBLAS_STATUS_SUCCESS; }
  template <typename T>
  void Set(cublasLtMatmulDescAttributes_t attribute, const T& value) {
    if (good_) Check(api_.desc_set(desc, attribute, &value, sizeof value));
  }
  template <typename T>
  void Prefer(cublasLtMatmulPreferenceAttributes_t attribute, const T& value) {
    if (good_) Check(api_.preference_set(preference, attribute, &value, sizeof value));
  }
  void MakeLayout(cublasLtMatrixLayout_t* layout, const muster_gpu_matmul_call& what,
                  std::size_t rows, std::size_t columns) {
    if (!good_) return;
    const cudaDataType_t type = what.bf16 != 0 ? CUDA_R_16BF : CUDA_R_32F;
    Check(api_.layout_create(layout, type, rows, columns, static_cast<std::int64_t>(rows)));
    if (!good_ || BatchOf(what) == 1) return;
    const auto batch = static_cast<std::int32_t>(BatchOf(what));
    const auto stride = static_cast<std::int64_t>(rows * columns);
    Check(api_.layout_set(*layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &batch, sizeof batch));
    Check(api_.layout_set(*layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &stride,
                          sizeof stride));
  }

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
  const Shape shape(device, what.m, what.n, what.k, BatchOf(what), what.transpose_a,
                    what.transpose_b, what.bf16, what.bias != nullptr);
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
  const void* addend = what.residual != nullptr ? what.residual : what.c;
  const float beta = what.accumulate != 0 || what.residual != nullptr ? 1 : 0;
  const int status = api.matmul(handle, plan.desc, &alpha, what.b, plan.b, what.a, plan.a, &beta,
                                addend, plan.c, what.c, plan.c, &algorithm->second, workspace,
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
