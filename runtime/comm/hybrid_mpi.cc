#include "runtime/comm/hybrid_mpi.h"

#include <algorithm>
#include <map>
#include <optional>

#include "runtime/comm/communication_threads.h"
#include "runtime/comm/node_exchange_posix.h"
#include "runtime/comm/shared_memory_posix.h"

namespace muster {
namespace {

using Kind = Collective::Kind;

// Who is where, and the communicators that follow from it.
struct Places {
  int rank = 0, size = 1;
  int local_rank = 0, local_size = 1;
  int node = 0;                         // From 0, in the order of their lowest ranks.
  std::vector<std::vector<int>> ranks;  // Of each node, in order.
  std::size_t lanes = 0;                // Local ranks that all nodes have.
  MPI_Comm comm = MPI_COMM_NULL;
  MPI_Comm of_node = MPI_COMM_NULL;
  MPI_Comm lane = MPI_COMM_NULL;  // The same local rank of each node; null: not of all.
};

Result<Places> FindPlaces(MPI_Comm comm, int node) {
  const MpiLock lock;
  Places places{.comm = comm};
  MPI_Comm_rank(comm, &places.rank);
  MPI_Comm_size(comm, &places.size);
  std::vector<int> nodes(static_cast<std::size_t>(places.size));
  RETURN_IF_ERROR(MpiStatus("finding the nodes",
                            MPI_Allgather(&node, 1, MPI_INT, nodes.data(), 1, MPI_INT, comm)));
  std::map<int, std::size_t> numbers;
  for (std::size_t r = 0; r < nodes.size(); ++r) {
    const auto number = numbers.try_emplace(nodes[r], numbers.size()).first->second;
    if (number == places.ranks.size()) places.ranks.emplace_back();
    places.ranks[number].push_back(static_cast<int>(r));
  }
  places.node = static_cast<int>(numbers[node]);
  const auto& mine = places.ranks[static_cast<std::size_t>(places.node)];
  places.local_size = static_cast<int>(mine.size());
  places.local_rank =
      static_cast<int>(std::find(mine.begin(), mine.end(), places.rank) - mine.begin());
  places.lanes = mine.size();
  for (const auto& of_node : places.ranks) places.lanes = std::min(places.lanes, of_node.size());
  RETURN_IF_ERROR(MpiStatus("making the groups of the nodes",
                            MPI_Comm_split(comm, places.node, places.rank, &places.of_node)));
  const bool in_lane = static_cast<std::size_t>(places.local_rank) < places.lanes;
  RETURN_IF_ERROR(MpiStatus("making the lanes",
                            MPI_Comm_split(comm, in_lane ? places.local_rank : MPI_UNDEFINED,
                                           places.node, &places.lane)));
  return places;
}

// Slices of an all_reduce, by lanes: the same local rank of each node.
class LaneBridge final : public NodeBridge {
 public:
  LaneBridge(MpiEngine& engine, const Places& places, AbortFlag& abort)
      : engine_(engine), places_(places), abort_(abort), under_way_(kDepth) {}

  int world_size() const override { return places_.size; }
  int RankOf(std::size_t local_rank) const override {
    return places_.ranks[static_cast<std::size_t>(places_.node)][local_rank];
  }
  std::size_t lanes() const override { return places_.lanes; }
  std::size_t depth() const override { return kDepth; }

  Status Agree(std::span<const Signature> of_node, const Call& call) override {
    std::size_t most = 0;
    for (const auto& ranks : places_.ranks) most = std::max(most, ranks.size());
    std::vector<Signature> mine(of_node.begin(), of_node.end());
    mine.resize(most);
    std::vector<Signature> all(most * places_.ranks.size());
    const auto gather = Collective::AllGather(std::as_bytes(std::span(mine)),
                                              std::as_writable_bytes(std::span(all)));
    const auto task = Begin(gather);
    RETURN_IF_ERROR(engine_.Await(*task, call.timeout));
    std::vector<Signature> by_rank(static_cast<std::size_t>(places_.size));
    for (std::size_t node = 0; node < places_.ranks.size(); ++node) {
      for (std::size_t local = 0; local < places_.ranks[node].size(); ++local) {
        by_rank[static_cast<std::size_t>(places_.ranks[node][local])] = all[node * most + local];
      }
    }
    return CheckAgreement(by_rank, call.seq);
  }

  Status Depart(const Reduction& how, std::size_t slot, void* accumulated, std::size_t n) override {
    // avg is divided by the number of all ranks when the sum is there.
    const ReduceOp op = how.op == ReduceOp::kAvg ? ReduceOp::kSum : how.op;
    under_way_[slot] = Begin(Collective::AllReduce(Buffer(accumulated, n, how.accumulator()), op));
    return {};
  }

  Status Arrive(std::size_t slot, const Call& call) override {
    const auto task = std::move(under_way_[slot]);
    return engine_.Await(*task, call.timeout);
  }

 private:
  static constexpr std::size_t kDepth = 8;

  std::shared_ptr<MpiTask> Begin(const Collective& collective) {
    const auto task = MakeTask({.comm = places_.lane,
                                .rank = places_.node,
                                .ranks = static_cast<int>(places_.ranks.size()),
                                .call = {.collective = collective, .seq = ++seq_},
                                .check = false,
                                .part_bytes = CallPlan::kEagerBytes},
                               abort_);
    engine_.Begin(task);
    return task;
  }

  MpiEngine& engine_;
  const Places& places_;
  AbortFlag& abort_;
  std::uint64_t seq_ = 0;
  std::vector<std::shared_ptr<MpiTask>> under_way_;
};

class HybridBackend final : public Backend {
 public:
  HybridBackend(MpiEngine& engine, Places places, bool own)
      : Backend(places.rank, places.size),
        engine_(engine),
        places_(std::move(places)),
        own_(own),
        bridge_(engine, places_, abort_) {
    thread_.emplace([this](const Call& call) { return Carry(call); }, abort_);
  }

  ~HybridBackend() override;
  HybridBackend(const HybridBackend&) = delete;
  HybridBackend& operator=(const HybridBackend&) = delete;

  // Collective.
  Status ShareMemory();

  const char* name() const override { return "hybrid"; }
  Status Run(const Call& call) override { return thread_->Run(call); }
  std::unique_ptr<Work> Start(const Call& call) override;
  Result<std::unique_ptr<Backend>> Split(const SplitPlan& plan) override;

 protected:
  void Wake() override {
    if (exchange_) exchange_->Wake();
    engine_.Sweep();
  }

 private:
  Status Carry(const Call& call);

  MpiEngine& engine_;
  Places places_;
  const bool own_;
  LaneBridge bridge_;
  std::optional<SharedMemory> memory_;
  std::optional<NodeExchange> exchange_;
  std::optional<CommunicationThread> thread_;
};

HybridBackend::~HybridBackend() {
  const bool whole = !aborted().set();
  Abort(Status(Code::kAborted, "the group was closed before the call had ended"));
  thread_.reset();
  engine_.Sweep();
  // What an aborted group left on the way must not turn up in a new one.
  if (!whole) return;
  const MpiLock lock;
  if (places_.lane != MPI_COMM_NULL) MPI_Comm_free(&places_.lane);
  MPI_Comm_free(&places_.of_node);
  if (own_) MPI_Comm_free(&places_.comm);
}

// Every rank fails if one does: the others would wait for it.
Status HybridBackend::ShareMemory() {
  const std::size_t bytes = NodeExchange::Bytes(places_.local_size);
  const bool first = places_.local_rank == 0;
  const MpiLock lock;
  Status mine;
  SharedMemory::Handle handle;
  const auto keep = [&](Result<SharedMemory> memory) {
    if (memory.ok()) {
      memory_.emplace(*std::move(memory));
    } else {
      mine = std::move(memory).status();
    }
  };
  if (first) keep(SharedMemory::Make(bytes));
  if (memory_) handle = memory_->handle();
  RETURN_IF_ERROR(
      MpiStatus("sharing memory", MPI_Bcast(&handle, sizeof handle, MPI_BYTE, 0, places_.of_node)));
  if (!first && handle.fd >= 0) keep(SharedMemory::Open(handle, bytes));
  int failed = memory_ ? -1 : rank();
  int last_failed = -1;
  RETURN_IF_ERROR(MpiStatus(
      "sharing memory", MPI_Allreduce(&failed, &last_failed, 1, MPI_INT, MPI_MAX, places_.comm)));
  RETURN_IF_ERROR(mine);
  if (last_failed >= 0) {
    return Status(Code::kExhausted, "the ranks of the node of rank " + std::to_string(last_failed) +
                                        " cannot share memory");
  }
  const bool several = places_.ranks.size() > 1;
  exchange_.emplace(memory_->bytes(), places_.local_rank, places_.local_size, abort_,
                    several ? &bridge_ : nullptr);
  return {};
}

Status HybridBackend::Carry(const Call& call) {
  const Kind kind = call.collective.kind;
  if (places_.ranks.size() == 1 || kind == Kind::kAllReduce || kind == Kind::kBarrier) {
    return exchange_->Run(call);
  }
  RETURN_IF_ERROR(exchange_->Enter(call));
  Call untold = call;
  untold.observer = nullptr;
  const auto task = MakeTask(
      {.comm = places_.comm, .rank = rank(), .ranks = world_size(), .call = untold, .check = false},
      abort_);
  engine_.Begin(task);
  return engine_.Await(*task, call.timeout);
}

std::unique_ptr<Work> HybridBackend::Start(const Call& call) {
  const Collective& c = call.collective;
  if (!c.IsTransfer()) return thread_->Start(call);
  return StartTransfer(engine_, places_.comm, call, abort_);
}

Result<std::unique_ptr<Backend>> HybridBackend::Split(const SplitPlan& plan) {
  auto part = SplitComm(places_.comm, plan);
  if (!part.ok()) return std::move(part).status();
  if (*part == MPI_COMM_NULL) return std::unique_ptr<Backend>();
  return MakeHybridBackend(engine_, *part, places_.node, true);
}

}  // namespace

Result<std::unique_ptr<Backend>> MakeHybridBackend(MpiEngine& engine, MPI_Comm comm, int node,
                                                   bool own) {
  auto places = FindPlaces(comm, node);
  if (!places.ok()) return std::move(places).status();
  auto backend = std::make_unique<HybridBackend>(engine, *std::move(places), own);
  RETURN_IF_ERROR(backend->ShareMemory());
  return std::unique_ptr<Backend>(std::move(backend));
}

}  // namespace muster
