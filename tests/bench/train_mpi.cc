// train_ranks ROUNDS MEBIBYTES BACKWARD_MS: started by mpirun, a rank a node, times training steps
// of a made-up model, round about, and prints a JSON object from rank 0.
//
// The model's gradient has so many MiB in tensors of 1 MiB, which become final one after the other
// during a backward pass of so much work: a fixed number of multiplications, not of milliseconds,
// so that a communication thread that takes the core away is paid for.  Seconds a step:
//   compute  the model alone, without a group
//   after    gradients are summed after the backward pass
//   beside   while it runs
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/comm/barrier_posix.h"
#include "runtime/comm/group_mpi.h"
#include "runtime/train/memory_mpi.h"
#include "runtime/train/overlap_posix.h"
#include "runtime/train/trainer.h"

namespace muster {
namespace {

constexpr std::uint64_t kSteps = 5;  // Of each variant in a round; the first is not counted.
constexpr std::size_t kTensorElements = std::size_t{1} << 18U;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Wave final : public Model {
 public:
  Wave(std::size_t tensors, double backward_seconds) : tensors_(tensors) {
    std::vector<float> values(kTensorElements);
    constexpr int kProbe = 40;
    Work(kProbe, values.data());
    const double began = Seconds();
    Work(kProbe, values.data());
    const double each = (Seconds() - began) / kProbe;
    turns_ = std::max(1, static_cast<int>(backward_seconds / each / static_cast<double>(tensors)));
  }

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
      Work(turns_, gradient + layout.offset(tensor));
      backward.Final(tensor);
    }
    return 1;
  }
  std::uint64_t tokens_per_micro_batch() const override { return 1; }

 private:
  // In the first cache, but for the last turn.
  static void Work(int turns, float* into) {
    constexpr std::size_t kBlock = 4096;
    std::fill_n(into, kTensorElements, 0.25F);
    for (int turn = 0; turn < turns; ++turn) {
      for (std::size_t at = 0; at < kTensorElements; ++at) {
        float& x = into[at % kBlock];
        x = x * 0.999F + 0.001F;
      }
    }
  }

  const std::size_t tensors_;
  int turns_ = 1;
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

double Train(ProcessGroup& group, Place place, Wave& model, bool beside) {
  MpiMemory memory(place);
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
  CHECK(trainer.ok());
  const Status run = (*trainer)->Run();
  if (!run.ok()) std::fprintf(stderr, "%s\n", run.message().c_str());
  CHECK(run.ok());
  double slowest = host.step();
  CHECK(group.all_reduce(std::span(&slowest, 1), ReduceOp::kMax).ok());
  return slowest;
}

double Compute(ProcessGroup& group, Wave& model) {
  const Layout layout(model.Tensors());
  std::vector<float> gradient(layout.gradient_elements());
  Backward backward(layout);
  CHECK(group.barrier().ok());
  const double began = Seconds();
  for (std::uint64_t step = 1; step < kSteps; ++step) {
    backward.Open({}, 1, {});
    model.Gradient({}, layout, nullptr, gradient.data(), backward);
    CHECK(backward.Close().ok());
  }
  double slowest = (Seconds() - began) / static_cast<double>(kSteps - 1);
  CHECK(group.all_reduce(std::span(&slowest, 1), ReduceOp::kMax).ok());
  return slowest;
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
  std::vector<double> compute, after, beside;
  for (int round = 0; round < rounds; ++round) {
    const bool turned = round % 2 == 1;
    compute.push_back(Compute(*group, model));
    if (turned) beside.push_back(Train(*group, place, model, true));
    after.push_back(Train(*group, place, model, false));
    if (!turned) beside.push_back(Train(*group, place, model, true));
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
