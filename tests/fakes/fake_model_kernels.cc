// The part of libfake_muster_cuda.so that models call: model_abi.h and the matmul, with
// host_kernels.h.
#include "tests/fakes/fake_launch.h"
#include "tests/fakes/host_kernels.h"

namespace muster::testing {
namespace {

host::Values Of(FakeLaunch& launch, const void* memory, int bf16) {
  return {const_cast<void*>(launch.At(memory)), bf16 != 0};
}

}  // namespace

// NOLINTBEGIN(readability-function-size): the parameters are those of model_abi.h.

FAKE_KERNEL int muster_gpu_matmul(const muster_gpu_matmul_call* what, void* workspace,
                                  void* stream) {
  FakeLaunch launch(stream);
  launch.At(static_cast<std::byte*>(workspace) + MUSTER_GPU_MATMUL_WORKSPACE - 1);
  auto call = *what;
  for (const void* address : {call.a, call.b, static_cast<const void*>(call.c)}) {
    if (reinterpret_cast<std::uintptr_t>(address) % 16 != 0) launch.Refuse("a matmul, not aligned");
  }
  if (call.accumulate != 0 && call.residual != nullptr) launch.Refuse("a matmul with two addends");
  call.a = launch.At(call.a);
  call.b = launch.At(call.b);
  call.c = launch.At(call.c);
  call.bias = launch.IfThere(call.bias);
  call.residual = launch.IfThere(call.residual);
  return launch.Run([call] { host::MatMul(call); });
}

FAKE_KERNEL int muster_gpu_embed(const muster_gpu_embed_call* what, void* stream) {
  FakeLaunch launch(stream);
  auto call = *what;
  call.tokens = launch.At(call.tokens);
  call.table = launch.At(call.table);
  call.positions = launch.At(call.positions);
  call.out = launch.At(call.out);
  return launch.Run([call] { host::Embed(call); });
}

FAKE_KERNEL int muster_gpu_one_hot(const uint8_t* tokens, size_t rows, int bf16, void* out,
                                   void* stream) {
  FakeLaunch launch(stream);
  const host::Values to = Of(launch, out, bf16);
  return launch.Run([=, from = launch.At(tokens)] { host::OneHot(from, rows, to); });
}

FAKE_KERNEL int muster_gpu_layer_norm(const muster_gpu_layer_norm_call* what, void* stream) {
  FakeLaunch launch(stream);
  auto call = *what;
  call.in = launch.At(call.in);
  call.weight = launch.At(call.weight);
  call.bias = launch.At(call.bias);
  call.out = launch.At(call.out);
  call.mean = launch.At(call.mean);
  call.rstd = launch.At(call.rstd);
  return launch.Run([call] { host::LayerNorm(call); });
}

FAKE_KERNEL int muster_gpu_layer_norm_backward(const muster_gpu_layer_norm_backward_call* what,
                                               void* stream) {
  FakeLaunch launch(stream);
  auto call = *what;
  call.d_out = launch.At(call.d_out);
  call.in = launch.At(call.in);
  call.weight = launch.At(call.weight);
  call.mean = launch.At(call.mean);
  call.rstd = launch.At(call.rstd);
  call.d_in = launch.At(call.d_in);
  call.d_weight = launch.At(call.d_weight);
  call.d_bias = launch.At(call.d_bias);
  launch.At(call.scratch + MUSTER_GPU_ROW_SCRATCH(call.rows, call.width) - 1);
  return launch.Run([call] { host::LayerNormBackward(call); });
}

FAKE_KERNEL int muster_gpu_sum_rows(const muster_gpu_sum_rows_call* what, void* stream) {
  FakeLaunch launch(stream);
  auto call = *what;
  call.in = launch.At(call.in);
  call.out = launch.At(call.out);
  launch.At(call.scratch + MUSTER_GPU_ROW_SCRATCH(call.rows, call.width) - 1);
  return launch.Run([call] { host::SumRows(call); });
}

FAKE_KERNEL int muster_gpu_gelu(const void* in, size_t n, int bf16, void* out, void* stream) {
  FakeLaunch launch(stream);
  const host::Values from = Of(launch, in, bf16), to = Of(launch, out, bf16);
  return launch.Run([=] { host::Gelu(from, n, to); });
}

FAKE_KERNEL int muster_gpu_gelu_backward(const void* in, size_t n, int bf16, void* d,
                                         void* stream) {
  FakeLaunch launch(stream);
  const host::Values from = Of(launch, in, bf16), to = Of(launch, d, bf16);
  return launch.Run([=] { host::GeluBackward(from, n, to); });
}

FAKE_KERNEL int muster_gpu_heads(const muster_gpu_heads_call* what, void* stream) {
  FakeLaunch launch(stream);
  auto call = *what;
  call.from = launch.At(call.from);
  call.to = launch.At(call.to);
  return launch.Run([call] { host::Heads(call); });
}

FAKE_KERNEL int muster_gpu_causal_softmax(void* scores, size_t matrices, size_t size, float scale,
                                          int bf16, void* stream) {
  FakeLaunch launch(stream);
  const host::Values at = Of(launch, scores, bf16);
  return launch.Run([=] { host::CausalSoftmax(at, matrices, size, scale); });
}

FAKE_KERNEL int muster_gpu_causal_softmax_backward(const void* probabilities, void* d,
                                                   size_t matrices, size_t size, float scale,
                                                   int bf16, void* stream) {
  FakeLaunch launch(stream);
  const host::Values from = Of(launch, probabilities, bf16), to = Of(launch, d, bf16);
  return launch.Run([=] { host::CausalSoftmaxBackward(from, to, matrices, size, scale); });
}

FAKE_KERNEL int muster_gpu_cross_entropy(const muster_gpu_cross_entropy_call* what, void* stream) {
  FakeLaunch launch(stream);
  auto call = *what;
  call.targets = launch.At(call.targets);
  call.logits = launch.At(call.logits);
  call.losses = launch.At(call.losses);
  call.mean = launch.At(call.mean);
  return launch.Run([call] { host::CrossEntropy(call); });
}

// NOLINTEND(readability-function-size): the parameters are those of model_abi.h.

}  // namespace muster::testing
