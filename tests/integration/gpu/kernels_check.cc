// Our kernels against the host's functions of the same name: the same bits.
#include <cmath>
#include <cstring>
#include <random>

#include "runtime/comm/canonical.h"
#include "runtime/comm/reduce.h"
#include "runtime/train/optimizer.h"
#include "tests/integration/gpu/gpu_check.h"

namespace muster::gpu {
namespace {

constexpr std::size_t kCount = 100'003;  // No multiple of anything.

std::vector<float> Randoms(std::size_t n, unsigned seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<float> values(n);
  for (float& value : values) value = normal(engine);
  return values;
}

// Bits of every kind, also NaN, infinite and subnormal ones; integers of any size.
std::vector<std::byte> AnyBits(std::size_t bytes, unsigned seed) {
  std::mt19937 engine(seed);
  std::vector<std::byte> values(bytes);
  for (std::byte& value : values) value = static_cast<std::byte>(engine());
  return values;
}

// The bits of a NaN are the machine's own affair; all others must be equal.
bool Same(DType dtype, const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  const auto is_nan = [&](const std::byte* at) {
    if (dtype == DType::kF64) {
      double x;
      std::memcpy(&x, at, sizeof x);
      return std::isnan(x);
    }
    std::uint32_t bits = 0;
    std::memcpy(&bits, at, SizeOf(dtype));
    if (dtype == DType::kF32) return (bits & 0x7FFFFFFFU) > 0x7F800000U;
    if (dtype == DType::kBF16) return (bits & 0x7FFFU) > 0x7F80U;
    return (bits & 0x7FFFU) > 0x7C00U;
  };
  for (std::size_t at = 0; at < a.size(); at += SizeOf(dtype)) {
    if (std::memcmp(&a[at], &b[at], SizeOf(dtype)) == 0) continue;
    if (!IsFloat(dtype) || !is_nan(&a[at]) || !is_nan(&b[at])) return false;
  }
  return true;
}

void CheckReduce(const Libraries& libraries, Table& table) {
  constexpr std::size_t kRows = 5;
  int cases = 0;
  std::string broken;
  for (const DType dtype : kDTypes) {
    const std::size_t bytes = kCount * SizeOf(dtype);
    const auto in = AnyBits(kRows * bytes, static_cast<unsigned>(dtype));
    DeviceMemory device(libraries, in.size());
    DeviceMemory out(libraries, bytes);
    device.Put(in.data());
    for (const ReduceOp op : kReduceOps) {
      if (op == ReduceOp::kAvg && !IsFloat(dtype)) continue;
      MustCuda(libraries,
               libraries.kernels->api().reduce(static_cast<int>(dtype), static_cast<int>(op),
                                               device.as<void>(), kCount, kRows, out.as<void>(),
                                               kCount, TheStream(libraries)),
               "muster_gpu_reduce");
      std::vector<std::byte> got(bytes);
      std::vector<std::byte> expected(bytes);
      out.Get(got.data());
      std::vector<const void*> rows;
      for (std::size_t r = 0; r < kRows; ++r) rows.push_back(&in[r * bytes]);
      Reduction{.dtype = dtype, .op = op, .ranks = kRows}.Run(rows, expected.data(), kCount);
      ++cases;
      if (!Same(dtype, got, expected))
        broken += std::string(" ") + NameOf(dtype) + "/" + NameOf(op);
    }
  }
  table.push_back({"reduce: same bits as the host, types x ops",
                   std::to_string(cases) + (broken.empty() ? " equal" : ", differ:" + broken),
                   broken.empty()});
}

void CheckCombine(const Libraries& libraries, Table& table) {
  // ((0 + 1) + (2 + 3)) + 4, as CombinePlan writes it.
  constexpr std::size_t kSources = 5;
  const std::int32_t program[] = {0, 1, -1, 2, 3, -1, -1, 4, -1};
  std::vector<std::vector<float>> host;
  std::vector<std::unique_ptr<DeviceMemory>> device;
  std::vector<const float*> sources;
  for (unsigned s = 0; s < kSources; ++s) {
    host.push_back(Randoms(kCount, s));
    device.push_back(std::make_unique<DeviceMemory>(libraries, kCount * sizeof(float)));
    device.back()->Put(host.back().data());
    sources.push_back(device.back()->as<float>());
  }
  std::vector<Subtree> leaves;
  for (std::uint32_t leaf = 0; leaf < kSources; ++leaf) {
    leaves.push_back(MaximalSubtrees({.begin = leaf, .end = leaf + 1}, kSources)[0]);
  }
  const CombinePlan plan(leaves, MaximalSubtrees({.begin = 0, .end = kSources}, kSources),
                         kSources);
  const bool as_planned = plan.programs()[0] == std::vector(std::begin(program), std::end(program));
  std::vector<float> expected(kCount);
  std::vector<const float*> inputs;
  for (const auto& one : host) inputs.push_back(one.data());
  float* outputs[] = {expected.data()};
  plan.Combine(inputs, outputs, kCount);
  DeviceMemory out(libraries, kCount * sizeof(float));
  MustCuda(libraries,
           libraries.kernels->api().combine(sources.data(), kSources, program, std::size(program),
                                            out.as<float>(), kCount, TheStream(libraries)),
           "muster_gpu_combine");
  std::vector<float> got(kCount);
  out.Get(got.data());
  bool held = as_planned && got == expected;
  MustCuda(libraries,
           libraries.kernels->api().add(out.as<float>(), sources[0], sources[1], kCount,
                                        TheStream(libraries)),
           "muster_gpu_add");
  AddKernel(expected.data(), host[0].data(), host[1].data(), kCount);
  out.Get(got.data());
  held = held && got == expected;
  table.push_back({"canonical combine: same bits as the host", held ? "equal" : "differ", held});
}

void CheckAdamW(const Libraries& libraries, Table& table) {
  OptimizerConfig config;
  auto parameters = Randoms(kCount, 1);
  auto exp_avg = std::vector<float>(kCount);
  auto exp_avg_sq = std::vector<float>(kCount);
  const auto gradient = Randoms(kCount, 2);
  const std::size_t bytes = kCount * sizeof(float);
  DeviceMemory p(libraries, bytes), m(libraries, bytes), v(libraries, bytes), g(libraries, bytes);
  DeviceMemory rounded(libraries, kCount * sizeof(std::uint16_t));
  p.Put(parameters.data());
  m.Put(exp_avg.data());
  v.Put(exp_avg_sq.data());
  g.Put(gradient.data());
  for (std::uint64_t step = 0; step < 3; ++step) {
    const AdamWUpdate u = MakeUpdate(config, step, 100, 0.25, step);
    ApplyAdamW(u, {.parameters = parameters.data(),
                   .exp_avg = exp_avg.data(),
                   .exp_avg_sq = exp_avg_sq.data(),
                   .gradient = gradient.data(),
                   .elements = kCount,
                   .decay = true});
    const muster_gpu_adamw_update update{
        u.gradient_scale,   u.beta1,   u.one_minus_beta1, u.beta2, u.one_minus_beta2, u.step_size,
        u.sqrt_correction2, u.epsilon, u.decay_factor,    1};
    MustCuda(libraries,
             libraries.kernels->api().adamw(&update, p.as<float>(), m.as<float>(), v.as<float>(),
                                            g.as<float>(), rounded.as<std::uint16_t>(), kCount,
                                            TheStream(libraries)),
             "muster_gpu_adamw");
  }
  std::vector<float> got(kCount);
  p.Get(got.data());
  bool held = got == parameters;
  m.Get(got.data());
  held = held && got == exp_avg;
  v.Get(got.data());
  held = held && got == exp_avg_sq;
  std::vector<std::uint16_t> bf16(kCount), expected(kCount);
  rounded.Get(bf16.data());
  kernels::NarrowBF16(expected.data(), parameters.data(), kCount);
  held = held && bf16 == expected;
  table.push_back(
      {"AdamW, 3 steps and bf16 copy: same bits as the host", held ? "equal" : "differ", held});
}

void CheckPack(const Libraries& libraries, Table& table) {
  const std::size_t counts[] = {1000, 1, 40'007};
  const auto in = Randoms(41'008, 3);
  std::vector<std::uint16_t> narrow(in.size());
  kernels::NarrowBF16(narrow.data(), in.data(), in.size());
  DeviceMemory tensors(libraries, narrow.size() * 2);
  DeviceMemory back(libraries, narrow.size() * 2);
  DeviceMemory bucket(libraries, in.size() * sizeof(float));
  tensors.Put(narrow.data());
  const auto split = [&](const DeviceMemory& memory) {
    auto* at = memory.as<std::uint16_t>();
    return std::vector<void*>{at, at + 1000, at + 1001};
  };
  const auto from = split(tensors);
  const auto to = split(back);
  MustCuda(libraries,
           libraries.kernels->api().pack(from.data(), counts, 3, 1, bucket.as<float>(),
                                         TheStream(libraries)),
           "muster_gpu_pack");
  MustCuda(libraries,
           libraries.kernels->api().unpack(bucket.as<float>(), to.data(), counts, 3, 1,
                                           TheStream(libraries)),
           "muster_gpu_unpack");
  std::vector<float> wide(in.size()), expected(in.size());
  bucket.Get(wide.data());
  kernels::WidenBF16(expected.data(), narrow.data(), narrow.size());
  std::vector<std::uint16_t> again(narrow.size());
  back.Get(again.data());
  const bool held = wide == expected && again == narrow;
  table.push_back({"bucket pack and unpack, bf16: same bits", held ? "equal" : "differ", held});
}

void CheckSums(const Libraries& libraries, Table& table) {
  constexpr std::size_t kPiece = 65'536;
  const auto values = Randoms(kCount, 4);
  DeviceMemory device(libraries, kCount * sizeof(float));
  device.Put(values.data());
  const std::size_t pieces = (kCount + kPiece - 1) / kPiece;
  DeviceMemory out(libraries, pieces * sizeof(double));
  MustCuda(libraries,
           libraries.kernels->api().sum_of_squares(device.as<float>(), kCount, kPiece,
                                                   out.as<double>(), TheStream(libraries)),
           "muster_gpu_sum_of_squares");
  std::vector<double> got(pieces);
  out.Get(got.data());
  bool held = true;
  for (std::size_t i = 0; i < pieces; ++i) {
    const std::size_t n = std::min(kPiece, kCount - i * kPiece);
    held = held && got[i] == SumOfSquares(&values[i * kPiece], n);
  }
  table.push_back(
      {"norm, blocks of 64 Ki: same bits as the host", held ? "equal" : "differ", held});
}

std::uint32_t Crc32cOf(const std::byte* bytes, std::size_t n) {
  std::uint32_t crc = 0xFFFFFFFFU;
  for (std::size_t i = 0; i < n; ++i) {
    crc ^= static_cast<std::uint32_t>(bytes[i]);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1U) != 0 ? (crc >> 1U) ^ 0x82F63B78U : crc >> 1U;
  }
  return ~crc;
}

void CheckCrc(const Libraries& libraries, Table& table) {
  constexpr std::size_t kPiece = std::size_t{1} << 20U;
  const auto bytes = AnyBits(2 * kPiece + 12'345, 5);
  DeviceMemory device(libraries, bytes.size());
  DeviceMemory out(libraries, 3 * sizeof(std::uint32_t));
  device.Put(bytes.data());
  MustCuda(libraries,
           libraries.kernels->api().crc32c(device.as<void>(), bytes.size(), kPiece,
                                           out.as<std::uint32_t>(), TheStream(libraries)),
           "muster_gpu_crc32c");
  std::uint32_t got[3] = {};
  out.Get(got);
  bool held = true;
  for (std::size_t i = 0; i < 3; ++i) {
    const std::size_t n = std::min(kPiece, bytes.size() - i * kPiece);
    held = held && got[i] == Crc32cOf(&bytes[i * kPiece], n);
  }
  table.push_back({"CRC-32C of pieces of 1 MiB: as defined", held ? "equal" : "differ", held});
}

void CheckMatmul(const Libraries& libraries, Table& table) {
  constexpr std::size_t kM = 33, kN = 48, kK = 65;
  const auto a = Randoms(kM * kK, 6);
  const auto b = Randoms(kK * kN, 7);
  double worst = 0;
  for (int transposed = 0; transposed < 4; ++transposed) {
    const bool ta = (transposed & 1) != 0;
    const bool tb = (transposed & 2) != 0;
    DeviceMemory da(libraries, a.size() * 4), db(libraries, b.size() * 4);
    DeviceMemory dc(libraries, kM * kN * 4), workspace(libraries, MUSTER_GPU_MATMUL_WORKSPACE);
    da.Put(a.data());
    db.Put(b.data());
    const muster_gpu_matmul_call what{.m = kM,
                                      .n = kN,
                                      .k = kK,
                                      .transpose_a = ta,
                                      .transpose_b = tb,
                                      .bf16 = 0,
                                      .accumulate = 0,
                                      .a = da.as<void>(),
                                      .b = db.as<void>(),
                                      .c = dc.as<void>()};
    const int error =
        libraries.kernels->api().matmul(&what, workspace.as<void>(), TheStream(libraries));
    if (error < 0) {
      table.push_back({"matmul (cuBLASLt)", error == -1 ? "no cuBLASLt found" : "no way", false});
      return;
    }
    MustCuda(libraries, error, "muster_gpu_matmul");
    std::vector<float> c(kM * kN);
    dc.Get(c.data());
    for (std::size_t i = 0; i < kM; ++i) {
      for (std::size_t j = 0; j < kN; ++j) {
        double sum = 0;
        for (std::size_t k = 0; k < kK; ++k) {
          sum += static_cast<double>(ta ? a[k * kM + i] : a[i * kK + k]) *
                 static_cast<double>(tb ? b[j * kK + k] : b[k * kN + j]);
        }
        worst = std::max(worst, std::fabs(sum - static_cast<double>(c[i * kN + j])));
      }
    }
  }
  table.push_back({"matmul (cuBLASLt), f32, transposed or not: worst error", std::to_string(worst),
                   worst < 1e-4});
}

}  // namespace

void CheckKernels(const Libraries& libraries, Table& table) {
  CheckReduce(libraries, table);
  CheckCombine(libraries, table);
  CheckAdamW(libraries, table);
  CheckPack(libraries, table);
  CheckSums(libraries, table);
  CheckCrc(libraries, table);
  CheckMatmul(libraries, table);
}

}  // namespace muster::gpu
