// collectives_ranks WHAT ROUNDS BYTES...: started by mpirun, times collectives against
// MPI_Allreduce, round about, and prints a JSON object for each size from rank 0.
//
// WHAT: sync    gradients as the training loop sums them: the arena of the node, canonical combine
//       reduce  all_reduce of user buffers by the hybrid group
//       memory  bytes a second that all ranks together move in x += y
// A side's time in a round is the median over its iterations of the slowest rank's time.  Before
// each iteration every rank rewrites what it brings; after it, still timed, it reads the result
// (sync only).
#include <mpi.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/rank_posix.h"
#include "runtime/comm/barrier_posix.h"
#include "runtime/comm/clones.h"
#include "runtime/comm/group_mpi.h"
#include "runtime/train/memory_mpi.h"
#include "runtime/train/reducer.h"

namespace muster {
namespace {

using Buffers = std::vector<float>;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

struct World {
  MpiSession& session;
  int rank = 0, ranks = 1;
  MpiSession::Place place;
};

// Small integers, other ones each time: sums are exact, whatever their order.
void Rewrite(float* values, std::size_t n, int rank, int iteration) {
  const auto base = static_cast<std::size_t>(rank) * 7 + static_cast<std::size_t>(iteration);
  for (std::size_t i = 0; i < n; ++i) values[i] = static_cast<float>((base + i) & 63U);
}

void CheckSum(const float* values, std::size_t n, const World& world, int iteration) {
  for (const std::size_t i : {std::size_t{0}, n / 2, n - 1}) {
    float expected = 0;
    for (int r = 0; r < world.ranks; ++r) {
      expected += static_cast<float>(
          (static_cast<std::size_t>(r) * 7 + static_cast<std::size_t>(iteration) + i) & 63U);
    }
    CHECK(values[i] == expected);
  }
}

// All of it, as fast as memory gives it: what it costs is the same for both sides.
MUSTER_CLONES float Read(const float* values, std::size_t n) {
  constexpr std::size_t kLanes = 128;
  float lanes[kLanes] = {};
  for (std::size_t i = 0; i + kLanes <= n; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) lanes[lane] += values[i + lane];
  }
  return *std::max_element(lanes, lanes + kLanes);
}

class Side {
 public:
  virtual ~Side() = default;
  virtual float* input() = 0;
  virtual void Sum() = 0;
  virtual const float* result() = 0;
};

class MpiSide final : public Side {
 public:
  explicit MpiSide(std::size_t n) : in_(n), out_(n) {}
  float* input() override { return in_.data(); }
  void Sum() override {
    MPI_Allreduce(in_.data(), out_.data(), static_cast<int>(in_.size()), MPI_FLOAT, MPI_SUM,
                  MPI_COMM_WORLD);
  }
  const float* result() override { return out_.data(); }

 private:
  Buffers in_, out_;
};

class GroupSide final : public Side {
 public:
  GroupSide(ProcessGroup& group, std::size_t n) : group_(group), in_(n), out_(n) {}
  float* input() override { return in_.data(); }
  void Sum() override {
    const Status status = group_.all_reduce(in_, out_, ReduceOp::kSum);
    if (!status.ok()) std::fprintf(stderr, "%s\n", status.message().c_str());
    CHECK(status.ok());
  }
  const float* result() override { return out_.data(); }

 private:
  ProcessGroup& group_;
  Buffers in_, out_;
};

// What Trainer::Step does between its gradients and its update.
class ArenaSide final : public Side {
 public:
  ArenaSide(World& world, ProcessGroup& group, std::size_t n)
      : layout_({{.name = "weights", .shape = {n - Layout::kTail}}}),
        memory_({.node = world.place.node, .local_rank = world.place.local_rank}) {
    Place mine{.node = world.place.node, .local_rank = world.place.local_rank};
    std::vector<Place> places(static_cast<std::size_t>(world.ranks));
    CHECK(group
              .all_gather(std::as_bytes(std::span(&mine, 1)),
                          std::as_writable_bytes(std::span(places)))
              .ok());
    auto topology = Topology::Make(places, world.rank, static_cast<std::uint32_t>(world.ranks));
    CHECK(topology.ok());
    topology_ = *std::move(topology);
    auto region = memory_.Get("gradients", GradientView::Bytes(layout_, topology_));
    CHECK(region.ok());
    view_ = GradientView(region->bytes, layout_, topology_);
    barrier_ = NodeBarrier::In(view_.barrier(), topology_.local_size(), 0);
    shards_.emplace(layout_, topology_.nodes(), false);
    reducer_.emplace(layout_, topology_, view_, group, *shards_);
  }
  float* input() override { return view_.slot(topology_.local_rank(), 0); }
  void Sum() override {
    CHECK(barrier_->Wait().ok());
    CHECK(reducer_->Reduce().ok());
    CHECK(barrier_->Wait().ok());
  }
  const float* result() override { return reducer_->result(); }

 private:
  const Layout layout_;
  Topology topology_;
  MpiMemory memory_;
  GradientView view_;
  std::unique_ptr<Barrier> barrier_;
  std::optional<Shards> shards_;
  std::optional<GradientReducer> reducer_;
};

volatile float sink = 0;

class Stopwatch {
 public:
  Stopwatch(const World& world, std::size_t n, bool read) : world_(world), n_(n), read_(read) {}

  // Seconds of one round.
  double Round(Side& side, int iterations) {
    std::vector<double> times;
    for (int i = 0; i < iterations; ++i) {
      ++iteration_;
      Rewrite(side.input(), n_, world_.rank, iteration_);
      MPI_Barrier(MPI_COMM_WORLD);
      const double began = Seconds();
      side.Sum();
      if (read_) sink = Read(side.result(), n_);
      const double mine = Seconds() - began;
      double slowest = 0;
      MPI_Allreduce(&mine, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
      times.push_back(slowest);
      CheckSum(side.result(), n_, world_, iteration_);
      MPI_Barrier(MPI_COMM_WORLD);  // Nobody rewrites what another still looks at.
    }
    return Median(times);
  }

 private:
  const World& world_;
  const std::size_t n_;
  const bool read_;
  int iteration_ = 0;
};

int IterationsOf(std::size_t bytes, int ranks) {
  const std::size_t each = (std::size_t{96} << 20U) / bytes / static_cast<std::size_t>(ranks);
  return static_cast<int>(std::clamp<std::size_t>(each, 1, 100));
}

std::string List(const std::vector<double>& values) {
  std::string text;
  char number[32];
  for (const double value : values) {
    std::snprintf(number, sizeof number, "%s%.9f", text.empty() ? "" : ", ", value);
    text += number;
  }
  return "[" + text + "]";
}

void Compare(World& world, ProcessGroup& group, bool sync, int rounds, std::size_t bytes) {
  const std::size_t n = bytes / sizeof(float);
  std::unique_ptr<Side> ours;
  if (sync) {
    ours = std::make_unique<ArenaSide>(world, group, n);
  } else {
    ours = std::make_unique<GroupSide>(group, n);
  }
  MpiSide theirs(n);
  Stopwatch watch(world, n, sync);
  const int iterations = IterationsOf(bytes, world.ranks);
  watch.Round(*ours, 1);
  watch.Round(theirs, 1);
  std::vector<double> our_times, their_times;
  for (int round = 0; round < rounds; ++round) {
    if (round % 2 == 0) our_times.push_back(watch.Round(*ours, iterations));
    their_times.push_back(watch.Round(theirs, iterations));
    if (round % 2 != 0) our_times.push_back(watch.Round(*ours, iterations));
  }
  if (world.rank != 0) return;
  std::printf("{\"bytes\": %zu, \"ours\": %s, \"theirs\": %s}\n", bytes, List(our_times).c_str(),
              List(their_times).c_str());
  std::fflush(stdout);
}

// Two reads and a write an element, as in a sum of two ranks' gradients.
void MeasureMemory(const World& world, int rounds, std::size_t bytes) {
  const std::size_t n = bytes / sizeof(float) / static_cast<std::size_t>(world.ranks);
  Buffers x(n, 1.0F), y(n, 2.0F);
  std::vector<double> rates;
  for (int round = 0; round < rounds + 1; ++round) {
    MPI_Barrier(MPI_COMM_WORLD);
    const double began = Seconds();
    AddKernel(x.data(), x.data(), y.data(), n);
    const double mine = Seconds() - began;
    double slowest = 0;
    MPI_Allreduce(&mine, &slowest, 1, MPI_DOUBLE, MPI_MAX, MPI_COMM_WORLD);
    if (round > 0) rates.push_back(3.0 * static_cast<double>(bytes) / slowest);
  }
  if (world.rank == 0) std::printf("{\"bytes\": %zu, \"rates\": %s}\n", bytes, List(rates).c_str());
}

int Main(int argc, char** argv) {
  CHECK(argc >= 4);
  const std::string what = argv[1];
  const auto info = WhoAmI();
  CHECK(info.ok());
  auto session = MpiSession::Start(info->world_size);
  CHECK(session.ok());
  const auto place = (*session)->FindPlace();
  CHECK(place.ok());
  World world{.session = **session, .rank = info->rank, .ranks = info->world_size, .place = *place};
  std::unique_ptr<ProcessGroup> group;
  if (what == "reduce") {
    auto hybrid = (*session)->Hybrid(place->node);
    CHECK(hybrid.ok());
    group = *std::move(hybrid);
  } else {
    group = (*session)->World();
  }
  for (int i = 3; i < argc; ++i) {
    const auto bytes = static_cast<std::size_t>(std::atoll(argv[i]));
    if (what == "memory") {
      MeasureMemory(world, std::atoi(argv[2]), bytes);
    } else {
      Compare(world, *group, what == "sync", std::atoi(argv[2]), bytes);
    }
  }
  return 0;
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  return muster::Main(argc, argv);
}
