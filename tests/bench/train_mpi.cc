// train_ranks ROUNDS MEBIBYTES BACKWARD_MS: started by mpirun, a rank a node, times training steps
// of a made-up model, round about, and prints a JSON object from rank 0.
//
// The model's gradient has so many MiB in tensors of 1 MiB, which become final one after the other
// during a backward pass of so many milliseconds of processor time: a communication thread that
// takes the core away is paid for, a machine that is slower for a while is not.  Seconds a step:
//   compute  every rank trains alone, all at the same time
//   after    gradients are summed after the backward pass
//   beside   while it runs
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/comm/barrier_posix.h"
#include "runtime/comm/group_mpi.h"
#include "runtime/comm/group_threads.h"
#include "runtime/train/memory_mpi.h"
#include "runtime/train/memory_threads.h"
#include "runtime/train/overlap_posix.h"
#include "runtime/train/trainer.h"

namespace muster {
namespace {

constexpr std::uint64_t kSteps = 5;  // Of each variant in a round; the first is not counted.
constexpr std::size_t kTensorElements = std::size_t{1} << 18U;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double ProcessorSeconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

class Wave final : public Model {
 public:
  Wave(std::size_t tensors, double backward_seconds)
      : tensors_(tensors), each_(backward_seconds / static_cast<double>(tensors)) {}

  std::vector<TensorSpec> Tensors() const override {
    std::vector<TensorSpec> all;
    for (std::size_t i = 0; i < tensors_; ++i) {
      all.push_back({.name = "w" + std::to_string(i), .shape = {kTensorElements}});
    }
    return all;
  }
  void Initialize(std::uint64_t, const Layout& layout, float* parameters) const override {
    std::fill_n(parameters, layout.elements(), 0.5F);
  }
  float Gradient(const MicroBatch&, const Layout& layout, const float*, float* gradient,
                 Backward& backward) override {
    backward.Begin();
    for (std::size_t tensor = tensors_; tensor-- > 0;) {
      Work(gradient + layout.offset(tensor));
      backward.Final(tensor);
    }
    return 1;
  }
  std::uint64_t tokens_per_micro_batch() const override { return 1; }

 private:
  // In the first cache, but for the first turn.
  void Work(float* into) const {
    constexpr std::size_t kBlock = 4096;
    const double began = ProcessorSeconds();
    std::fill_n(into, kTensorElements, 0.25F);
    while (ProcessorSeconds() - began < each_) {
      for (std::size_t at = 0; at < 4 * kBlock; ++at) {
        float& x = into[at % kBlock];
        x = x * 0.999F + 0.001F;
      }
    }
  }

  const std::size_t tensors_;
  const double each_;
};

class Silent final : public TrainHost {
 public:
  bool StopRequested() override { return false; }
  void Report(const link::Progress& progress, double) override {
    if (progress.step == 1) first_ended_ = Seconds();
    last_ended_ = Seconds();
  }
  void Say(const std::string&) override {}
  double step() const { return (last_ended_ - first_ended_) / static_cast<double>(kSteps - 1); }

 private:
  double first_ended_ = 0, last_ended_ = 0;
};

double Train(ProcessGroup& group, Place place, Memory& memory, Wave& model, bool beside) {
  Silent host;
  CommunicationOverlap overlap;
  const auto ranks = static_cast<std::uint32_t>(group.world_size());
  auto trainer = Trainer::Start(
      {.steps = kSteps, .micro_batches = ranks},
      {.model = model,
       .group = group,
       .memory = memory,
       .make_barrier = [](std::byte* bytes,
                          std::uint32_t count) { return NodeBarrier::In(bytes, count, 0); },
       .host = host,
       .clock = RealClock(),
       .place = place,
       .overlap = beside ? &overlap : nullptr});
  if (!trainer.ok()) std::fprintf(stderr, "%s\n", trainer.status().message().c_str());
  CHECK(trainer.ok());
  const Status run = (*trainer)->Run();
  if (!run.ok()) std::fprintf(stderr, "%s\n", run.message().c_str());
  CHECK(run.ok());
  return host.step();
}

double Slowest(ProcessGroup& world, double seconds) {
  CHECK(world.all_reduce(std::span(&seconds, 1), ReduceOp::kMax).ok());
  return seconds;
}

void Print(const char* name, const std::vector<double>& values) {
  std::printf("\"%s\":[", name);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::printf("%s%.6f", i == 0 ? "" : ",", values[i]);
  }
  std::printf("]");
}

int Main(int argc, char** argv) {
  CHECK(argc == 4);
  const int rounds = std::atoi(argv[1]);
  const auto tensors = static_cast<std::size_t>(std::atoi(argv[2]));
  const char* const size = std::getenv("OMPI_COMM_WORLD_SIZE");
  CHECK(size != nullptr);
  auto session = MpiSession::Start(std::atoi(size));
  CHECK(session.ok());
  const auto found = (*session)->FindPlace();
  CHECK(found.ok());
  const Place place{.node = found->node, .local_rank = found->local_rank};
  const auto group = (*session)->World();
  Wave model(tensors, std::atof(argv[3]) / 1e3);
  const ThreadsRendezvous nobody(1);
  const auto alone = MakeThreadsGroup(nobody, 0);
  const auto train = [&](bool overlapped) {
    MpiMemory memory(place);
    return Slowest(*group, Train(*group, place, memory, model, overlapped));
  };
  std::vector<double> compute, after, beside;
  for (int round = 0; round < rounds; ++round) {
    const bool turned = round % 2 == 1;
    CHECK(group->barrier().ok());
    ThreadsMemory own;
    compute.push_back(Slowest(*group, Train(*alone, {}, own, model, false)));
    if (turned) beside.push_back(train(true));
    after.push_back(train(false));
    if (!turned) beside.push_back(train(true));
  }
  if (group->rank() == 0) {
    std::printf("{\"nodes\":%d,", group->world_size());
    Print("compute", compute);
    std::printf(",");
    Print("after", after);
    std::printf(",");
    Print("beside", beside);
    std::printf("}\n");
    std::fflush(stdout);
  }
  return group->barrier().ok() ? 0 : 1;
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  return muster::Main(argc, argv);
}
