#include "runtime/comm/group_mpi.h"

#include <mpi.h>

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/lean_start.h"
#include "runtime/comm/pause_posix.h"

namespace muster {
namespace {

Status MpiStatus(const char* doing, int error) {
  if (error == MPI_SUCCESS) return {};
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  MPI_Error_string(error, text, &length);
  return Status(Code::kUnavailable, std::string(doing) + ": " + text);
}

// Polls until all requests are done.
Status WaitAll(std::vector<MPI_Request>& requests, const char* doing, Duration timeout) {
  constexpr int kFast = 200;  // Then the core goes to whoever is behind: yielding is not enough.
  const TimePoint deadline = RealClock().Now() + timeout;
  for (int look = 0;; ++look) {
    int done = 0;
    RETURN_IF_ERROR(MpiStatus(doing, MPI_Testall(static_cast<int>(requests.size()), requests.data(),
                                                 &done, MPI_STATUSES_IGNORE)));
    if (done != 0) return {};
    if (look < kFast) continue;
    if (RealClock().Now() > deadline) {
      return Status(Code::kDeadline, std::string(doing) + ": a rank did not answer in time");
    }
    PauseShort();
  }
}

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

constexpr std::size_t kMessageMax = std::size_t{1} << 30U;  // MPI counts in int.

class MpiWork final : public Work {
 public:
  explicit MpiWork(const char* doing) : doing_(doing) {}

  Status wait(Duration timeout) override {
    RETURN_IF_ERROR(started);
    return WaitAll(requests, doing_, timeout);
  }

  Status started;
  std::vector<MPI_Request> requests;

 private:
  const char* const doing_;
};

class MpiGroup final : public ProcessGroup {
 public:
  explicit MpiGroup(Duration timeout) : timeout_(timeout) {
    CHECK(MPI_Comm_rank(MPI_COMM_WORLD, &rank_) == MPI_SUCCESS);
    CHECK(MPI_Comm_size(MPI_COMM_WORLD, &size_) == MPI_SUCCESS);
  }

  int rank() const override { return rank_; }
  int world_size() const override { return size_; }

  Status barrier() override {
    return Finish("barrier", [](MPI_Request* r) { return MPI_Ibarrier(MPI_COMM_WORLD, r); });
  }

  Status broadcast(std::span<std::byte> bytes, int root) override {
    while (!bytes.empty()) {
      const auto part = bytes.first(std::min(bytes.size(), kMessageMax));
      RETURN_IF_ERROR(Finish("broadcast", [&](MPI_Request* r) {
        return MPI_Ibcast(part.data(), static_cast<int>(part.size()), MPI_BYTE, root,
                          MPI_COMM_WORLD, r);
      }));
      bytes = bytes.subspan(part.size());
    }
    return {};
  }

  Status all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    CHECK(all.size() == mine.size() * static_cast<std::size_t>(size_));
    CHECK(all.size() <= kMessageMax);
    const auto count = static_cast<int>(mine.size());
    return Finish("all_gather", [&](MPI_Request* r) {
      return MPI_Iallgather(mine.data(), count, MPI_BYTE, all.data(), count, MPI_BYTE,
                            MPI_COMM_WORLD, r);
    });
  }

  Status all_reduce(std::span<std::int64_t> values, ReduceOp op) override {
    const MPI_Op mpi_op = op == ReduceOp::kSum ? MPI_SUM : op == ReduceOp::kMin ? MPI_MIN : MPI_MAX;
    return Finish("all_reduce", [&](MPI_Request* r) {
      return MPI_Iallreduce(MPI_IN_PLACE, values.data(), static_cast<int>(values.size()),
                            MPI_INT64_T, mpi_op, MPI_COMM_WORLD, r);
    });
  }

  std::unique_ptr<Work> send(std::span<const std::byte> bytes, int to, int tag) override {
    return Transfer("send", bytes.size(), [&](std::size_t at, int n, MPI_Request* r) {
      return MPI_Isend(bytes.data() + at, n, MPI_BYTE, to, tag, MPI_COMM_WORLD, r);
    });
  }

  std::unique_ptr<Work> recv(std::span<std::byte> bytes, int from, int tag) override {
    return Transfer("recv", bytes.size(), [&](std::size_t at, int n, MPI_Request* r) {
      return MPI_Irecv(bytes.data() + at, n, MPI_BYTE, from, tag, MPI_COMM_WORLD, r);
    });
  }

 private:
  template <typename StartOne>
  Status Finish(const char* doing, StartOne start) {
    MpiWork work(doing);
    work.started = MpiStatus(doing, start(&work.requests.emplace_back(MPI_REQUEST_NULL)));
    return work.wait(timeout_);
  }

  template <typename StartOne>
  static std::unique_ptr<Work> Transfer(const char* doing, std::size_t size, StartOne start) {
    auto work = std::make_unique<MpiWork>(doing);
    std::size_t at = 0;
    do {
      const std::size_t part = std::min(size - at, kMessageMax);
      MPI_Request* request = &work->requests.emplace_back(MPI_REQUEST_NULL);
      work->started = MpiStatus(doing, start(at, static_cast<int>(part), request));
      at += part;
    } while (at < size && work->started.ok());
    return work;
  }

  const Duration timeout_;
  int rank_ = 0;
  int size_ = 0;
};

}  // namespace

Result<std::unique_ptr<MpiSession>> MpiSession::Start(int expected_size) {
  int provided = 0;
  {
    const LeanStart lean;
    RETURN_IF_ERROR(MpiStatus("starting MPI",
                              MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided)));
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
  return std::unique_ptr<MpiSession>(new MpiSession);
}

MpiSession::~MpiSession() {
  MPI_Finalize();
}

std::unique_ptr<ProcessGroup> MpiSession::World(Duration timeout) {
  return std::make_unique<MpiGroup>(timeout);
}

Result<MpiSession::Place> MpiSession::FindPlace() {
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
