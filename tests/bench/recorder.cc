// What the flight recorder costs an entry: begun and ended, two clock reads.
#include <benchmark/benchmark.h>

#include <cstdio>

#include "runtime/comm/recorder.h"

namespace muster {
namespace {

void Entry(benchmark::State& state) {
  std::vector<std::uint64_t> memory(RecorderBytes(kRecorderEntries) / 8);
  Recorder recorder(std::as_writable_bytes(std::span(memory)), {}, RealClock());
  std::uint64_t seq = 0;
  for (auto _ : state) {
    recorder.End(recorder.Begin({.seq = ++seq, .count = 1024, .op = RecordedOp::kAllReduce}));
  }
}
BENCHMARK(Entry)->Repetitions(7);

void TwoClockReads(benchmark::State& state) {
  Clock& clock = RealClock();
  for (auto _ : state) {
    benchmark::DoNotOptimize(clock.Now());
    benchmark::DoNotOptimize(clock.Now());
  }
}
BENCHMARK(TwoClockReads)->Repetitions(7);

class Table final : public benchmark::ConsoleReporter {
 public:
  void ReportRuns(const std::vector<Run>& runs) override {
    ConsoleReporter::ReportRuns(runs);
    for (const Run& run : runs) {
      if (run.aggregate_name == "median") medians.push_back(run.GetAdjustedCPUTime());
    }
  }
  std::vector<double> medians;
};

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  muster::Table table;
  benchmark::RunSpecifiedBenchmarks(&table);
  if (table.medians.size() != 2) return 0;  // Some were chosen by hand.
  std::printf(
      "{\"bench\":\"recorder\",\"cases\":[{\"case\":\"entry\",\"unit\":\"ns of CPU\",\"ours\":%.1f,"
      "\"theirs\":%.1f,\"peer\":\"two clock reads\",\"ratio\":%.2f,\"runs\":7}]}\n",
      table.medians[0], table.medians[1], table.medians[0] / table.medians[1]);
  return 0;
}
