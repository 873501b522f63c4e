// How fast: medians of 7, after one that does not count.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <thread>

#include "runtime/comm/kv_threads.h"
#include "tests/integration/gpu/gpu_check.h"

namespace muster::gpu {
namespace {

constexpr int kRuns = 7;

double Median(const std::function<void()>& run) {
  run();
  std::vector<double> seconds;
  for (int i = 0; i < kRuns; ++i) {
    const TimePoint begin = RealClock().Now();
    run();
    seconds.push_back(std::chrono::duration<double>(RealClock().Now() - begin).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[kRuns / 2];
}

std::string Rate(double amount, double seconds, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, "%.1f %s", amount / seconds / 1e9, unit);
  return text;
}

// Random bytes: what is all zeros is stored and moved otherwise on some machines.
void Fill(DeviceMemory& memory) {
  std::mt19937_64 engine(1);
  std::vector<std::uint64_t> bytes(memory.bytes() / 8);
  for (auto& word : bytes) word = engine() & 0x3FFF3FFF3FFF3FFFULL;  // No NaN in any type.
  memory.Put(bytes.data());
}

void MeasureKernels(const Libraries& libraries, Table& table) {
  constexpr std::size_t kCount = std::size_t{64} << 20U;
  constexpr std::size_t kBytes = kCount * sizeof(float);
  const auto& api = libraries.kernels->api();
  CudaStream stream = TheStream(libraries);
  DeviceMemory a(libraries, kBytes), b(libraries, kBytes), c(libraries, kBytes),
      d(libraries, kBytes);
  for (DeviceMemory* memory : {&a, &b, &c, &d}) Fill(*memory);
  const auto timed = [&](const std::string& what, double bytes,
                         const std::function<int()>& launch) {
    const double seconds = Median([&] {
      MustCuda(libraries, launch(), what);
      AwaitStream(libraries);
    });
    table.push_back({what, Rate(bytes, seconds, "GB/s")});
  };
  const auto size = static_cast<double>(kBytes);
  timed("AdamW, 64 Mi elements (7 streams of bytes)", 7 * size, [&] {
    const muster_gpu_adamw_update update{1, 0.9F, 0.1F, 0.99F, 0.01F, 1e-3F, 1, 1e-8F, 1, 1};
    return api.adamw(&update, a.as<float>(), b.as<float>(), c.as<float>(), d.as<float>(), nullptr,
                     kCount, stream);
  });
  timed("canonical add, 64 Mi elements", 3 * size,
        [&] { return api.add(a.as<float>(), b.as<float>(), c.as<float>(), kCount, stream); });
  timed("reduce, 8 rows of 8 Mi f32", 9 * size / 8, [&] {
    return api.reduce(0, 0, a.as<void>(), kCount / 8, 8, b.as<void>(), kCount / 8, stream);
  });
  timed("norm, 64 Mi elements", size,
        [&] { return api.sum_of_squares(a.as<float>(), kCount, 65'536, b.as<double>(), stream); });
  timed("CRC-32C, 256 MiB", size, [&] {
    return api.crc32c(a.as<void>(), kBytes, std::size_t{1} << 20U, b.as<std::uint32_t>(), stream);
  });
}

void MeasureMatmul(const Libraries& libraries, Table& table) {
  constexpr std::size_t kN = 8192;
  DeviceMemory a(libraries, kN * kN * 2), b(libraries, kN * kN * 2), c(libraries, kN * kN * 2);
  DeviceMemory workspace(libraries, MUSTER_GPU_MATMUL_WORKSPACE);
  Fill(a);
  Fill(b);
  const muster_gpu_matmul_call what{.m = kN,
                                    .n = kN,
                                    .k = kN,
                                    .transpose_a = 0,
                                    .transpose_b = 1,
                                    .bf16 = 1,
                                    .accumulate = 0,
                                    .a = a.as<void>(),
                                    .b = b.as<void>(),
                                    .c = c.as<void>()};
  const double seconds = Median([&] {
    MustCuda(libraries,
             libraries.kernels->api().matmul(&what, workspace.as<void>(), TheStream(libraries)),
             "muster_gpu_matmul");
    AwaitStream(libraries);
  });
  table.push_back(
      {"matmul bf16, 8192^3 (cuBLASLt)", Rate(2.0 * kN * kN * kN / 1e3, seconds, "TFLOP/s")});
}

void MeasureCopies(const Libraries& libraries, Table& table) {
  constexpr std::size_t kBytes = std::size_t{256} << 20U;
  DeviceMemory device(libraries, kBytes);
  Fill(device);
  void* pinned = nullptr;
  const CudaApi& api = libraries.cuda->api();
  MustCuda(libraries, api.host_alloc(&pinned, kBytes, 0), "pinned memory");
  const double seconds = Median([&] {
    MustCuda(libraries,
             api.memcpy_async(pinned, device.as<void>(), kBytes, kCudaMemcpyDefault,
                              TheStream(libraries)),
             "a copy");
    AwaitStream(libraries);
  });
  MustCuda(libraries, api.free_host(pinned), "giving memory back");
  table.push_back({"D2H, pinned, 256 MiB", Rate(kBytes, seconds, "GB/s")});
}

// Seconds of an all_reduce of `count` elements, on the rank whose GPU `options` names.
double TimeRank(const Libraries& libraries, const std::shared_ptr<ThreadsStore>& store,
                const NcclOptions& options, int ranks, std::size_t count) {
  auto session = NcclSession::Start({}, store, options);
  Must(session.status());
  auto group = (*session)->World("speed", options.device, ranks);
  Must(group.status());
  MustCuda(libraries, libraries.cuda->api().set_device(options.device), "choosing the GPU");
  void* memory = nullptr;
  MustCuda(libraries, libraries.cuda->api().malloc(&memory, count * 4), "memory");
  const double seconds = Median(
      [&] { Must((*group)->all_reduce(Buffer(memory, count, DType::kF32), ReduceOp::kSum)); });
  Must((*group)->barrier());
  MustCuda(libraries, libraries.cuda->api().free(memory), "giving memory back");
  return seconds;
}

// algbw and busbw as nccl-tests define them.
void MeasureGroups(const Libraries& libraries, Table& table, NcclOptions::Reductions reductions) {
  const int ranks = std::min(libraries.devices, 8);
  const bool ordered = reductions == NcclOptions::Reductions::kRankOrder;
  for (const std::size_t mib : {1U, 64U, 256U}) {
    const std::size_t count = (mib << 20U) / sizeof(float);
    const auto store = std::make_shared<ThreadsStore>();
    double seconds = 0;
    {
      std::vector<std::jthread> threads;
      for (int rank = 0; rank < ranks; ++rank) {
        threads.emplace_back([&, rank] {
          const double mine =
              TimeRank(libraries, store, {.device = rank, .reductions = reductions}, ranks, count);
          if (rank == 0) seconds = mine;
        });
      }
    }
    const double bytes = static_cast<double>(count) * 4;
    const double bus = ranks == 1 ? 0 : 2.0 * (ranks - 1) / ranks;
    table.push_back({"all_reduce f32, " + std::to_string(ranks) + " ranks, " + std::to_string(mib) +
                         " MiB, " + (ordered ? "order of the ranks" : "NCCL's own"),
                     Rate(bytes, seconds, "GB/s algbw, ") + Rate(bytes * bus, seconds, "busbw")});
  }
}

}  // namespace

void Measure(const Libraries& libraries, Table& table) {
  MeasureKernels(libraries, table);
  MeasureMatmul(libraries, table);
  MeasureCopies(libraries, table);
  MeasureGroups(libraries, table, NcclOptions::Reductions::kLibrary);
  MeasureGroups(libraries, table, NcclOptions::Reductions::kRankOrder);
}

}  // namespace muster::gpu
