// The kernels of a GPT against the host's plain ones (tests/fakes/host_kernels.h), in f32 and bf16:
// the same bits where nothing is summed or exponentiated, else within a tolerance that is told.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <random>

#include "tests/fakes/host_kernels.h"
#include "tests/integration/gpu/gpu_check.h"

namespace muster::gpu {
namespace {

using host::Values;

// No multiples of a warp or a chunk.
constexpr std::size_t kSequences = 3, kContext = 43, kHeads = 2, kHead = 24;
constexpr std::size_t kRows = kSequences * kContext, kWidth = kHeads * kHead;
constexpr std::size_t kVocabulary = 300;

// An array here and on the GPU: the kernel of the host works on one, that of the GPU on the other.
class Twin {
 public:
  Twin(const Libraries& libraries, std::size_t count, bool bf16, unsigned seed)
      : count_(count),
        bf16_(bf16),
        bytes_(count * (bf16 ? 2 : 4)),
        device_(libraries, bytes_.size()) {
    std::mt19937 engine(seed);
    std::normal_distribution<float> normal;
    for (std::size_t i = 0; i < count; ++i) values().Put(i, normal(engine));
    device_.Put(bytes_.data());
  }
  void* host() { return bytes_.data(); }
  void* gpu() const { return device_.as<void>(); }
  float* floats() { return reinterpret_cast<float*>(bytes_.data()); }
  float* gpu_floats() const { return device_.as<float>(); }
  Values values() { return {bytes_.data(), bf16_}; }

  // The largest difference, in parts of the largest value.
  double Error() {
    std::vector<std::byte> got(bytes_.size());
    device_.Get(got.data());
    const Values theirs{got.data(), bf16_};
    double worst = 0, most = 1e-30;
    for (std::size_t i = 0; i < count_; ++i) {
      const double expected = static_cast<double>(values().Get(i));
      const double difference = std::fabs(static_cast<double>(theirs.Get(i)) - expected);
      if (!(difference <= worst)) worst = difference;  // A NaN is the worst.
      most = std::max(most, std::fabs(expected));
    }
    return worst / most;
  }

 private:
  const std::size_t count_;
  const bool bf16_;
  std::vector<std::byte> bytes_;
  DeviceMemory device_;
};

class Checker {
 public:
  Checker(const Libraries& libraries, bool bf16, Table& table)
      : libraries_(libraries), api_(libraries.kernels->api()), bf16_(bf16), table_(table) {}

  void All() {
    Embedding();
    Norms();
    Activations();
    Attention();
    Loss();
    Products();
  }

 private:
  std::unique_ptr<Twin> Tensor(std::size_t count) {
    return std::make_unique<Twin>(libraries_, count, bf16_, ++seed_);
  }
  std::unique_ptr<Twin> Floats(std::size_t count) {
    return std::make_unique<Twin>(libraries_, count, false, ++seed_);
  }
  // bf16 rounds once to 8 bits, and what a row was rounded to may differ by one place.
  void Tell(const std::string& what, int error, const std::vector<Twin*>& results,
            double tolerance) {
    MustCuda(libraries_, error, what);
    double worst = 0;
    for (Twin* one : results) worst = std::max(worst, one->Error());
    const double allowed = tolerance == 0 ? 0 : bf16_ ? 1.0 / 64 : tolerance;
    char text[96];
    std::snprintf(text, sizeof text, "error %.2g, allowed %.2g", worst, allowed);
    table_.push_back({what + (bf16_ ? ", bf16" : ", f32"), text, worst <= allowed});
  }
  CudaStream stream() const { return TheStream(libraries_); }
  int flag() const { return bf16_ ? 1 : 0; }

  // Random bytes in both.
  struct Bytes {
    std::vector<std::uint8_t> host;
    std::unique_ptr<DeviceMemory> gpu;
  };
  Bytes RandomBytes(std::size_t n) {
    Bytes bytes{std::vector<std::uint8_t>(n), std::make_unique<DeviceMemory>(libraries_, n)};
    std::mt19937 engine(++seed_);
    for (std::uint8_t& byte : bytes.host) byte = static_cast<std::uint8_t>(engine());
    bytes.gpu->Put(bytes.host.data());
    return bytes;
  }

  void Embedding() {
    const Bytes tokens = RandomBytes(kRows);
    const auto table = Tensor(256 * kWidth), positions = Tensor(kContext * kWidth);
    const auto out = Tensor(kRows * kWidth), hot = Tensor(kRows * 256);
    muster_gpu_embed_call call{
        kRows,         kContext,          kWidth,     flag(), tokens.host.data(),
        table->host(), positions->host(), out->host()};
    host::Embed(call);
    call.tokens = tokens.gpu->as<std::uint8_t>();
    call.table = table->gpu();
    call.positions = positions->gpu();
    call.out = out->gpu();
    Tell("embedding: same bits", api_.embed(&call, stream()), {out.get()}, 0);
    host::OneHot(tokens.host.data(), kRows, hot->values());
    Tell("one hot: same bits",
         api_.one_hot(tokens.gpu->as<std::uint8_t>(), kRows, flag(), hot->gpu(), stream()),
         {hot.get()}, 0);
  }

  void Norms() {
    const auto in = Tensor(kRows * kWidth), weight = Tensor(kWidth), bias = Tensor(kWidth);
    const auto out = Tensor(kRows * kWidth), mean = Floats(kRows), rstd = Floats(kRows);
    muster_gpu_layer_norm_call call{kRows,       kWidth,         flag(),
                                    in->host(),  weight->host(), bias->host(),
                                    out->host(), mean->floats(), rstd->floats()};
    host::LayerNorm(call);
    call = {kRows,
            kWidth,
            flag(),
            in->gpu(),
            weight->gpu(),
            bias->gpu(),
            out->gpu(),
            mean->gpu_floats(),
            rstd->gpu_floats()};
    Tell("layer norm", api_.layer_norm(&call, stream()), {out.get(), mean.get(), rstd.get()}, 1e-5);

    const auto d_out = Tensor(kRows * kWidth), d_in = Tensor(kRows * kWidth);
    const auto d_weight = Tensor(kWidth), d_bias = Tensor(kWidth);
    const auto scratch = Floats(MUSTER_GPU_ROW_SCRATCH(kRows, kWidth));
    muster_gpu_layer_norm_backward_call back{
        kRows,        kWidth,           flag(),         d_out->host(),
        in->host(),   weight->host(),   mean->floats(), rstd->floats(),
        d_in->host(), d_weight->host(), d_bias->host(), nullptr};
    host::LayerNormBackward(back);
    back = {kRows,
            kWidth,
            flag(),
            d_out->gpu(),
            in->gpu(),
            weight->gpu(),
            mean->gpu_floats(),
            rstd->gpu_floats(),
            d_in->gpu(),
            d_weight->gpu(),
            d_bias->gpu(),
            scratch->gpu_floats()};
    Tell("layer norm backward", api_.layer_norm_backward(&back, stream()),
         {d_in.get(), d_weight.get(), d_bias.get()}, 1e-5);
    const auto sums = Tensor(kWidth);
    muster_gpu_sum_rows_call sum{kRows, kWidth, flag(), in->host(), sums->host(), nullptr};
    host::SumRows(sum);
    sum = {kRows, kWidth, flag(), in->gpu(), sums->gpu(), scratch->gpu_floats()};
    Tell("sum of rows", api_.sum_rows(&sum, stream()), {sums.get()}, 1e-5);
  }

  void Activations() {
    constexpr std::size_t kCount = kRows * kWidth;
    const auto in = Tensor(kCount), out = Tensor(kCount), d = Tensor(kCount);
    host::Gelu(in->values(), kCount, out->values());
    Tell("GELU", api_.gelu(in->gpu(), kCount, flag(), out->gpu(), stream()), {out.get()}, 1e-5);
    host::GeluBackward(in->values(), kCount, d->values());
    Tell("GELU backward", api_.gelu_backward(in->gpu(), kCount, flag(), d->gpu(), stream()),
         {d.get()}, 1e-5);
  }

  void Attention() {
    const auto by_time = Tensor(kRows * 3 * kWidth), by_part = Tensor(kRows * 3 * kWidth);
    muster_gpu_heads_call heads{kSequences, kContext, 3 * kHeads,      kHead,
                                flag(),     0,        by_time->host(), by_part->host()};
    host::Heads(heads);
    heads.from = by_time->gpu();
    heads.to = by_part->gpu();
    Tell("heads: same bits", api_.heads(&heads, stream()), {by_part.get()}, 0);
    const auto back = Tensor(kRows * 3 * kWidth);
    heads.back = 1;
    heads.from = by_part->host();
    heads.to = back->host();
    host::Heads(heads);
    heads.from = by_part->gpu();
    heads.to = back->gpu();
    Tell("heads, back: same bits", api_.heads(&heads, stream()), {back.get()}, 0);

    constexpr std::size_t kMatrices = kSequences * kHeads;
    constexpr float kScale = 0.7F;
    const auto scores = Tensor(kMatrices * kContext * kContext);
    const auto d = Tensor(kMatrices * kContext * kContext);
    host::CausalSoftmax(scores->values(), kMatrices, kContext, kScale);
    Tell("causal softmax",
         api_.causal_softmax(scores->gpu(), kMatrices, kContext, kScale, flag(), stream()),
         {scores.get()}, 1e-5);
    host::CausalSoftmaxBackward(scores->values(), d->values(), kMatrices, kContext, kScale);
    Tell("causal softmax backward",
         api_.causal_softmax_backward(scores->gpu(), d->gpu(), kMatrices, kContext, kScale, flag(),
                                      stream()),
         {d.get()}, 1e-5);
  }

  void Loss() {
    const Bytes targets = RandomBytes(kRows);
    const auto logits = Tensor(kRows * kVocabulary), losses = Floats(kRows), mean = Floats(1);
    muster_gpu_cross_entropy_call call{
        kRows,          kVocabulary,      flag(),        4.0F, targets.host.data(),
        logits->host(), losses->floats(), mean->floats()};
    host::CrossEntropy(call);
    call.targets = targets.gpu->as<std::uint8_t>();
    call.logits = logits->gpu();
    call.losses = losses->gpu_floats();
    call.mean = mean->gpu_floats();
    Tell("cross entropy", api_.cross_entropy(&call, stream()),
         {logits.get(), losses.get(), mean.get()}, 1e-5);
  }

  void Products() {
    constexpr std::size_t kM = 40, kN = 24, kK = 56, kBatch = 3;
    DeviceMemory workspace(libraries_, MUSTER_GPU_MATMUL_WORKSPACE);
    for (const bool batched : {false, true}) {
      const std::size_t batch = batched ? kBatch : 1;
      const auto a = Tensor(batch * kM * kK), b = Tensor(batch * kK * kN);
      const auto c = Tensor(batch * kM * kN), bias = Tensor(kN), more = Tensor(kM * kN);
      for (int variant = 0; variant < 8; ++variant) {
        const bool adds = (variant & 4) != 0 && !batched;
        muster_gpu_matmul_call call{.m = kM,
                                    .n = kN,
                                    .k = kK,
                                    .transpose_a = variant & 1,
                                    .transpose_b = variant / 2 & 1,
                                    .bf16 = flag(),
                                    .accumulate = batched ? variant / 4 : 0,
                                    .a = a->host(),
                                    .b = b->host(),
                                    .c = c->host(),
                                    .bias = adds ? bias->host() : nullptr,
                                    .residual = adds ? more->host() : nullptr,
                                    .batch = batch};
        host::MatMul(call);
        call.a = a->gpu();
        call.b = b->gpu();
        call.c = c->gpu();
        call.bias = adds ? bias->gpu() : nullptr;
        call.residual = adds ? more->gpu() : nullptr;
        Tell("matmul, transposed " + std::to_string(variant % 4) +
                 (batched ? ", batched"
                  : adds  ? ", bias and residual"
                          : "") +
                 (call.accumulate != 0 ? ", accumulating" : ""),
             api_.matmul(&call, workspace.as<void>(), stream()), {c.get()}, 1e-5);
      }
    }
  }

  const Libraries& libraries_;
  const GpuKernelsApi& api_;
  const bool bf16_;
  Table& table_;
  unsigned seed_ = 100;
};

}  // namespace

void CheckModelKernels(const Libraries& libraries, Table& table) {
  for (const bool bf16 : {false, true}) Checker(libraries, bf16, table).All();
}

}  // namespace muster::gpu
