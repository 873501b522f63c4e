#include "runtime/comm/group_mpi.h"

#include <mpi.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/lean_start.h"
#include "runtime/comm/engine_mpi.h"
#include "runtime/comm/hybrid_mpi.h"

namespace muster {
namespace {

// A lean start (D1a): what nobody set, and what no group here needs, is left out while MPI looks
// for its parts.  Programs that this one starts do not inherit it.
class LeanStart {
 public:
  LeanStart() {
    if (MayLeanHwloc([](const char* name) { return GetEnv(name).has_value(); })) {
      for (const LeanSetting& setting : kLeanHwloc) Default(setting.name, setting.value);
    }
    Default("OMPI_MCA_coll", "^adapt,han,monitoring,sm,sync");
    Default("OMPI_MCA_osc", "^monitoring");
    Default("OMPI_MCA_shmem", "^posix,sysv");
  }
  ~LeanStart() {
    for (const char* name : set_) UnsetEnv(name);
  }
  LeanStart(const LeanStart&) = delete;
  LeanStart& operator=(const LeanStart&) = delete;

 private:
  void Default(const char* name, const char* value) {
    if (GetEnv(name)) return;
    SetEnv(name, value);
    set_.push_back(name);
  }

  std::vector<const char*> set_;
};

class MpiBackend final : public Backend {
 public:
  struct Ranks {
    int rank = 0, size = 1;
  };
  // `own`: the communicator is freed in the end.
  MpiBackend(MpiEngine& engine, MPI_Comm comm, Ranks ranks, bool own)
      : Backend(ranks.rank, ranks.size), engine_(engine), comm_(comm), own_(own) {}

  MpiBackend(const MpiBackend&) = delete;
  MpiBackend& operator=(const MpiBackend&) = delete;
  ~MpiBackend() override {
    const bool whole = !aborted().set();
    Abort(Status(Code::kAborted, "the group was closed before the call had ended"));
    const MpiLock lock;
    // What an aborted group left on the way must not turn up in a new one.
    if (own_ && whole) MPI_Comm_free(&comm_);
  }

  const char* name() const override { return "mpi"; }

  Status Run(const Call& call) override {
    Call untold = call;
    untold.observer = nullptr;
    const auto task = MakeTask(Of(untold), abort_);
    engine_.Begin(task);
    return engine_.Await(*task, call.timeout);
  }

  std::unique_ptr<Work> Start(const Call& call) override {
    if (call.collective.IsTransfer()) return StartTransfer(engine_, comm_, call, abort_);
    const auto task = MakeTask(Of(call), abort_);
    engine_.Begin(task);
    engine_.Leave();
    return std::make_unique<MpiEngine::PendingWork>(engine_, task, call.seq);
  }

  Result<std::unique_ptr<Backend>> Split(const SplitPlan& plan) override {
    auto part = SplitComm(comm_, plan);
    if (!part.ok()) return std::move(part).status();
    std::unique_ptr<Backend> backend;
    if (*part != MPI_COMM_NULL) {
      const Ranks ranks{.rank = plan.rank, .size = static_cast<int>(plan.members.size())};
      backend = std::make_unique<MpiBackend>(engine_, *part, ranks, true);
    }
    return backend;
  }

 protected:
  void Wake() override { engine_.Sweep(); }

 private:
  MpiCollective Of(const Call& call) const {
    return {.comm = comm_, .rank = rank(), .ranks = world_size(), .call = call};
  }

  MpiEngine& engine_;
  MPI_Comm comm_;
  const bool own_;
};

}  // namespace

Result<std::unique_ptr<MpiSession>> MpiSession::Start(int expected_size) {
  int provided = 0;
  {
    const LeanStart lean;
    RETURN_IF_ERROR(MpiStatus("starting MPI",
                              MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided)));
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  int size = 0;
  RETURN_IF_ERROR(MpiStatus("starting MPI", MPI_Comm_size(MPI_COMM_WORLD, &size)));
  if (size != expected_size) {
    return Status(
        Code::kInternal,
        "the launcher started " + std::to_string(expected_size) + " ranks, but MPI_Comm_size is " +
            std::to_string(size) +
            (size == 1 ? ": MPI started as a singleton: it did not find its launcher's PMIx server "
                         "(are the PMIX_* variables gone from the environment, or is this another "
                         "MPI than the launcher's?)"
                       : ": the ranks were started by more than one launcher"));
  }
  // With less, what was started moves on only while somebody waits.
  auto engine = std::make_unique<MpiEngine>(provided >= MPI_THREAD_SERIALIZED);
  return std::unique_ptr<MpiSession>(new MpiSession(std::move(engine)));
}

MpiSession::MpiSession(std::unique_ptr<MpiEngine> engine) : engine_(std::move(engine)) {}

MpiSession::~MpiSession() {
  engine_.reset();
  MPI_Finalize();
}

std::unique_ptr<ProcessGroup> MpiSession::World(Duration timeout) {
  MpiBackend::Ranks ranks;
  const MpiLock lock;
  CHECK(MPI_Comm_rank(MPI_COMM_WORLD, &ranks.rank) == MPI_SUCCESS);
  CHECK(MPI_Comm_size(MPI_COMM_WORLD, &ranks.size) == MPI_SUCCESS);
  auto backend = std::make_unique<MpiBackend>(*engine_, MPI_COMM_WORLD, ranks, false);
  return std::make_unique<ProcessGroup>(std::move(backend), timeout);
}

Result<std::unique_ptr<ProcessGroup>> MpiSession::Hybrid(int node, Duration timeout) {
  MPI_Comm comm = MPI_COMM_NULL;
  {
    const MpiLock lock;
    RETURN_IF_ERROR(MpiStatus("MPI_Comm_dup", MPI_Comm_dup(MPI_COMM_WORLD, &comm)));
  }
  auto backend = MakeHybridBackend(*engine_, comm, node, true);
  if (!backend.ok()) return std::move(backend).status();
  return std::make_unique<ProcessGroup>(*std::move(backend), timeout);
}

Result<MpiSession::Place> MpiSession::FindPlace() {
  const MpiLock lock;
  int rank = 0;
  int size = 0;
  RETURN_IF_ERROR(MpiStatus("MPI_Comm_rank", MPI_Comm_rank(MPI_COMM_WORLD, &rank)));
  RETURN_IF_ERROR(MpiStatus("MPI_Comm_size", MPI_Comm_size(MPI_COMM_WORLD, &size)));
  MPI_Comm node = MPI_COMM_NULL;
  RETURN_IF_ERROR(MpiStatus(
      "finding the ranks of this node",
      MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node)));
  Place place;
  MPI_Comm_rank(node, &place.local_rank);
  int lowest = rank;
  MPI_Bcast(&lowest, 1, MPI_INT, 0, node);
  MPI_Comm_free(&node);
  std::vector<int> all(static_cast<std::size_t>(size));
  RETURN_IF_ERROR(MpiStatus("gathering the nodes", MPI_Allgather(&lowest, 1, MPI_INT, all.data(), 1,
                                                                 MPI_INT, MPI_COMM_WORLD)));
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  place.node =
      static_cast<std::int32_t>(std::lower_bound(all.begin(), all.end(), lowest) - all.begin());
  return place;
}

}  // namespace muster
