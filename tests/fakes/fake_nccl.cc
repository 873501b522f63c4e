#include "tests/fakes/fake_nccl.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <vector>

#include "runtime/base/mutex.h"
#include "runtime/comm/nccl_api.h"
#include "runtime/comm/reduce.h"

#ifndef FAKE_NCCL_VERSION
#define FAKE_NCCL_VERSION 22809
#endif

namespace muster::testing {
namespace {

enum class Kind { kAllReduce, kReduce, kReduceScatter, kAllGather, kBroadcast, kSend, kRecv };

struct Comm;

struct Op {
  Kind kind = Kind::kSend;
  const void* in = nullptr;
  void* out = nullptr;
  std::size_t count = 0;
  NcclDataType type = kNcclU8;
  NcclRedOp op = kNcclSum;
  int peer = 0;  // Or the root.
  bool arrived = false, done = false;

  bool Like(const Op& other) const {
    return kind == other.kind && count == other.count && type == other.type && op == other.op &&
           peer == other.peer;
  }
};

DType TypeOf(NcclDataType type) {
  switch (type) {
    case kNcclF32:
      return DType::kF32;
    case kNcclF64:
      return DType::kF64;
    case kNcclF16:
      return DType::kF16;
    case kNcclBF16:
      return DType::kBF16;
    case kNcclI32:
      return DType::kI32;
    case kNcclI64:
      return DType::kI64;
    default:
      return DType::kU8;
  }
}

ReduceOp OpOf(NcclRedOp op) {
  constexpr ReduceOp kOps[] = {ReduceOp::kSum, ReduceOp::kProd, ReduceOp::kMax, ReduceOp::kMin,
                               ReduceOp::kAvg};
  return kOps[op];
}

struct Asked {
  int color = 0, key = 0;
  Comm* parent = nullptr;
  NcclComm* answer = nullptr;
};

// Ranks that are, or are to be, one communicator.
struct Room {
  explicit Room(int size) : ranks(static_cast<std::size_t>(size)), members(ranks) {}
  const std::size_t ranks;
  std::vector<Comm*> members;
  std::map<std::uint64_t, std::vector<std::shared_ptr<Op>>> collectives;
  std::map<std::pair<int, int>, std::deque<std::shared_ptr<Op>>> sends, recvs;
  std::map<std::uint64_t, std::map<int, Asked>> splits;
  bool Whole() const {
    return std::none_of(members.begin(), members.end(), [](Comm* c) { return c == nullptr; });
  }
};

struct Comm {
  std::shared_ptr<Room> room;
  int rank = 0;
  int looks = 2;  // How often it still says ncclInProgress.
  bool gone = false, revoked = false, splitting = false;
  NcclResult error = kNcclSuccess;
  int inside = 0;
  std::uint64_t operations = 0, splits = 0;
  std::uint64_t collectives = 0;
  std::vector<std::shared_ptr<Op>> pending;
  std::deque<std::pair<NcclStream, FakeWork*>> deferred;  // Started, not in the stream yet.
};

struct Fault {
  int kind = kFaultNone, ranks = 0, rank = 0;
  std::uint64_t after = 0;
};

struct World {
  Fault fault;
  std::uint64_t ids = 0;
  std::map<std::array<char, 128>, std::shared_ptr<Room>> rooms;
  int living = 0;
  std::vector<Comm*> comms;  // All that ever were.
  Mutex stuck;               // Of calls that hang on purpose.
  std::condition_variable_any freed;
  bool holding GUARDED_BY(stuck) = false;
};

World& TheWorld() {
  static auto* world = new World;  // NOLINT: threads may outlive main.
  return *world;
}

class Locked {
 public:
  Locked() { fake_cuda_lock(); }
  ~Locked() { fake_cuda_unlock(); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;
};

bool Hit(const Comm& comm, int kind) {
  const Fault& f = TheWorld().fault;
  return f.kind == kind && static_cast<int>(comm.room->ranks) == f.ranks && comm.rank == f.rank;
}

void Hang() {
  auto& world = TheWorld();
  MutexLock lock(world.stuck);
  while (world.holding) world.freed.wait(world.stuck);
}

// The last rank that arrives does the work of all.
void Carry(Room& room, std::vector<std::shared_ptr<Op>>& ops) {
  const Op& how = *ops[0];
  const DType dtype = TypeOf(how.type);
  const std::size_t size = SizeOf(dtype);
  const std::size_t n = room.ranks;
  const auto in = [&](std::size_t r) {
    return static_cast<const std::byte*>(fake_cuda_host(ops[r]->in));
  };
  const auto out = [&](std::size_t r) {
    return static_cast<std::byte*>(fake_cuda_host(ops[r]->out));
  };
  const bool scatters = how.kind == Kind::kReduceScatter;
  const std::size_t whole = how.count * (scatters ? n : 1);
  std::vector<std::byte> result(whole * size * (how.kind == Kind::kAllGather ? n : 1));
  if (how.kind == Kind::kAllGather) {
    for (std::size_t r = 0; r < n; ++r) std::memcpy(&result[r * whole * size], in(r), whole * size);
  } else if (how.kind == Kind::kBroadcast) {
    std::memcpy(result.data(), in(static_cast<std::size_t>(how.peer)), whole * size);
  } else {
    std::vector<const void*> inputs;
    for (std::size_t r = n; r-- > 0;) inputs.push_back(in(r));
    Reduction{.dtype = dtype, .op = OpOf(how.op), .ranks = n}.Run(inputs, result.data(), whole);
  }
  for (std::size_t r = 0; r < n; ++r) {
    ops[r]->done = true;
    if (how.kind == Kind::kReduce && static_cast<int>(r) != how.peer) continue;
    const std::size_t bytes = scatters ? how.count * size : result.size();
    std::memcpy(out(r), result.data() + (scatters ? r * bytes : 0), bytes);
  }
}

void Arrive(Comm& comm, const std::shared_ptr<Op>& op) {
  op->arrived = true;
  Room& room = *comm.room;
  if (op->kind == Kind::kSend) return room.sends[{comm.rank, op->peer}].push_back(op);
  if (op->kind == Kind::kRecv) return room.recvs[{op->peer, comm.rank}].push_back(op);
  auto& all = room.collectives[comm.collectives++];
  all.resize(room.ranks);
  all[static_cast<std::size_t>(comm.rank)] = op;
  if (std::any_of(all.begin(), all.end(), [&](const auto& o) { return !o || !o->Like(*op); }))
    return;
  Carry(room, all);
}

void Match(Room& room) {
  for (auto& [peers, sends] : room.sends) {
    auto& recvs = room.recvs[peers];
    while (!sends.empty() && !recvs.empty()) {
      const auto send = sends.front();
      const auto recv = recvs.front();
      if (send->count != recv->count || send->type != recv->type) break;  // For ever.
      std::memmove(fake_cuda_host(recv->out), fake_cuda_host(send->in),
                   send->count * SizeOf(TypeOf(send->type)));
      send->done = recv->done = true;
      sends.pop_front();
      recvs.pop_front();
    }
  }
}

// What one group of calls put into a stream.
class Batch final : public FakeWork {
 public:
  Batch(Comm& comm, std::vector<std::shared_ptr<Op>> ops, std::uint64_t number)
      : comm_(comm), ops_(std::move(ops)), number_(number) {}

  bool TryRun() override {
    if (comm_.gone || comm_.revoked) return true;
    const std::uint64_t after = TheWorld().fault.after;
    if (Hit(comm_, kFaultOpHangs) && number_ >= after) return false;
    if (Hit(comm_, kFaultRankDies) && number_ >= after) return false;
    for (const auto& op : ops_) {
      if (!op->arrived) Arrive(comm_, op);
    }
    Match(*comm_.room);
    const bool done = std::all_of(ops_.begin(), ops_.end(), [](const auto& o) { return o->done; });
    const Fault& f = TheWorld().fault;
    if (!done && f.kind == kFaultRankDies && static_cast<int>(comm_.room->ranks) == f.ranks &&
        number_ >= f.after && comm_.error == kNcclSuccess) {
      comm_.error = kNcclRemoteError;
    }
    return done;
  }

 private:
  Comm& comm_;
  const std::vector<std::shared_ptr<Op>> ops_;
  const std::uint64_t number_;
};

Comm& Of(NcclComm comm) {
  return *reinterpret_cast<Comm*>(comm);
}

NcclComm Handle(Comm* comm) {
  return reinterpret_cast<NcclComm>(comm);
}

Comm* Join(const std::shared_ptr<Room>& room, int rank) {
  auto* comm = new Comm;  // NOLINT: kept to the end, to see who uses it after its own.
  comm->room = room;
  comm->rank = rank;
  ++TheWorld().living;
  TheWorld().comms.push_back(comm);
  if (Hit(*comm, kFaultInitFails)) comm->error = kNcclSystemError;
  if (!Hit(*comm, kFaultInitHangs)) room->members[static_cast<std::size_t>(rank)] = comm;
  return comm;
}

// One call of a communicator: alone, and on one that lives.
class Inside {
 public:
  explicit Inside(NcclComm comm, bool may_be_busy = false) : comm_(Of(comm)) {
    const Locked lock;
    if (comm_.gone) fake_cuda_violation("NCCL: a call on a communicator that is gone");
    if (comm_.inside++ > 0) fake_cuda_violation("NCCL: two threads are in one communicator");
    if (!may_be_busy && (comm_.looks > 0 || !comm_.deferred.empty())) {
      fake_cuda_violation("NCCL: a call while another is in progress");
    }
  }
  ~Inside() {
    const Locked lock;
    --comm_.inside;
  }
  Inside(const Inside&) = delete;
  Inside& operator=(const Inside&) = delete;

 private:
  Comm& comm_;
};

void CheckConfig(const NcclConfig* config) {
  if (config == nullptr || config->blocking != 0) {
    fake_cuda_violation("NCCL: a blocking communicator cannot be aborted safely");
  } else if (config->magic != 0xcafebeef || config->version < 21800) {
    fake_cuda_violation("NCCL: the config was not initialised");
  }
}

// All that were asked have answered: their new communicators.
void Part(std::map<int, Asked>& asked) {
  std::map<int, std::vector<std::pair<std::pair<int, int>, Asked*>>> colors;
  for (auto& [rank, one] : asked) colors[one.color].push_back({{one.key, rank}, &one});
  for (auto& [color, members] : colors) {
    std::sort(members.begin(), members.end());
    const auto part = std::make_shared<Room>(static_cast<int>(members.size()));
    int rank = 0;
    for (auto& [order, one] : members) {
      one->parent->splitting = false;
      if (color != kNcclNoColor) *one->answer = Handle(Join(part, rank++));
    }
  }
}

struct Grouped {
  Comm* comm = nullptr;
  NcclStream stream = nullptr;
  Op op;
};
thread_local int depth = 0;
thread_local std::vector<Grouped> grouped;

NcclResult Launch() {
  std::vector<Grouped> calls;
  calls.swap(grouped);
  if (calls.empty()) return kNcclSuccess;
  Comm& comm = *calls[0].comm;
  std::vector<std::shared_ptr<Op>> ops;
  bool reachable = true;
  bool hangs = false;
  {
    const Locked lock;
    for (const Grouped& call : calls) {
      if (call.comm != &comm || call.stream != calls[0].stream) {
        fake_cuda_violation("fake NCCL: a group over several communicators or streams");
      }
      const bool in = call.op.in == nullptr || fake_cuda_host(call.op.in) != nullptr;
      const bool out = call.op.out == nullptr || fake_cuda_host(call.op.out) != nullptr;
      reachable = reachable && in && out;
      ops.push_back(std::make_shared<Op>(call.op));
    }
    if (!reachable) fake_cuda_violation("NCCL: memory that the device does not reach");
    hangs = Hit(comm, kFaultCallHangs) && comm.operations >= TheWorld().fault.after;
  }
  if (hangs) Hang();
  const Locked lock;
  if (comm.revoked) return kNcclInvalidUsage;
  if (!reachable) return kNcclInvalidArgument;
  const std::uint64_t number = comm.operations++;
  if (Hit(comm, kFaultAsyncError) && number >= TheWorld().fault.after) {
    comm.error = kNcclInternalError;
  }
  auto* batch = new Batch(comm, std::move(ops), number);  // NOLINT: the stream owns it.
  if (number % 3 == 1) {
    fake_cuda_push(calls[0].stream, batch);
    return kNcclSuccess;
  }
  comm.looks = static_cast<int>(number % 3);
  comm.deferred.emplace_back(calls[0].stream, batch);
  return kNcclInProgress;
}

NcclResult Add(NcclComm comm, NcclStream stream, const Op& op) {
  const Inside inside(comm);
  grouped.push_back({.comm = &Of(comm), .stream = stream, .op = op});
  return depth > 0 ? kNcclSuccess : Launch();
}

}  // namespace

// NOLINTBEGIN(readability-identifier-naming,readability-function-size): the names are NCCL's.

FAKE_API void fake_nccl_plant(int fault, int ranks, int rank, int after) {
  auto& world = TheWorld();
  {
    const Locked lock;
    world.fault = {
        .kind = fault, .ranks = ranks, .rank = rank, .after = static_cast<std::uint64_t>(after)};
  }
  MutexLock lock(world.stuck);
  world.holding = fault == kFaultCallHangs || fault == kFaultAbortHangs;
  world.freed.notify_all();
}

FAKE_API int fake_nccl_living() {
  const Locked lock;
  return TheWorld().living;
}

FAKE_API NcclResult ncclGetVersion(int* version) {
  *version = FAKE_NCCL_VERSION;
  return kNcclSuccess;
}

FAKE_API NcclResult ncclGetUniqueId(NcclUniqueId* id) {
  const Locked lock;
  *id = {};
  const std::uint64_t number = ++TheWorld().ids;
  std::memcpy(id->bytes, &number, sizeof number);
  return kNcclSuccess;
}

FAKE_API const char* ncclGetErrorString(NcclResult result) {
  return result == kNcclSuccess ? "no error" : "the fake NCCL says no";
}

FAKE_API const char* ncclGetLastError(NcclComm) {
  return "";
}

FAKE_API NcclResult ncclCommInitRankConfig(NcclComm* comm, int ranks, NcclUniqueId id, int rank,
                                           NcclConfig* config) {
  const Locked lock;
  CheckConfig(config);
  std::array<char, 128> key{};
  std::memcpy(key.data(), id.bytes, key.size());
  auto& room = TheWorld().rooms[key];
  if (room == nullptr) room = std::make_shared<Room>(ranks);
  *comm = Handle(Join(room, rank));
  return kNcclInProgress;
}

FAKE_API NcclResult ncclCommGetAsyncError(NcclComm handle, NcclResult* result) {
  const Inside inside(handle, true);
  const Locked lock;
  Comm& comm = Of(handle);
  fake_cuda_progress();
  *result = kNcclInProgress;
  if (comm.error != kNcclSuccess) {
    *result = comm.error;
  } else if (!comm.room->Whole() || comm.splitting) {
  } else if (comm.looks > 0) {
    --comm.looks;
  } else {
    for (auto& [stream, batch] : comm.deferred) fake_cuda_push(stream, batch);
    comm.deferred.clear();
    *result = kNcclSuccess;
  }
  return kNcclSuccess;
}

FAKE_API NcclResult ncclCommFinalize(NcclComm handle) {
  const Inside inside(handle);
  if (Of(handle).revoked) return kNcclInvalidUsage;
  Of(handle).looks = 1;
  return kNcclInProgress;
}

namespace {

void End(NcclComm handle) {
  const Locked lock;
  Comm& comm = Of(handle);
  comm.gone = true;
  --TheWorld().living;
  for (auto& [stream, batch] : comm.deferred) delete batch;
  comm.deferred.clear();
  fake_cuda_progress();
}

}  // namespace

FAKE_API NcclResult ncclCommDestroy(NcclComm handle) {
  const Inside inside(handle);
  End(handle);
  return kNcclSuccess;
}

FAKE_API NcclResult ncclCommAbort(NcclComm handle) {
  bool hangs = false;
  {
    const Inside inside(handle, true);
    const Locked lock;
    hangs = Hit(Of(handle), kFaultAbortHangs);
  }
  if (hangs) Hang();
  End(handle);
  return kNcclSuccess;
}

FAKE_API NcclResult ncclCommSplit(NcclComm handle, int color, int key, NcclComm* part,
                                  NcclConfig* config) {
  const Inside inside(handle);
  const Locked lock;
  CheckConfig(config);
  Comm& comm = Of(handle);
  comm.splitting = true;
  auto& asked = comm.room->splits[comm.splits++];
  asked[comm.rank] = {.color = color, .key = key, .parent = &comm, .answer = part};
  if (asked.size() == comm.room->ranks) Part(asked);
  return kNcclInProgress;
}

FAKE_API NcclResult ncclGroupStart() {
  ++depth;
  return kNcclSuccess;
}

FAKE_API NcclResult ncclGroupEnd() {
  return --depth > 0 ? kNcclSuccess : Launch();
}

FAKE_API NcclResult ncclAllReduce(const void* in, void* out, std::size_t count, NcclDataType type,
                                  NcclRedOp op, NcclComm comm, NcclStream stream) {
  return Add(
      comm, stream,
      {.kind = Kind::kAllReduce, .in = in, .out = out, .count = count, .type = type, .op = op});
}

FAKE_API NcclResult ncclReduce(const void* in, void* out, std::size_t count, NcclDataType type,
                               NcclRedOp op, int root, NcclComm comm, NcclStream stream) {
  return Add(comm, stream,
             {.kind = Kind::kReduce,
              .in = in,
              .out = Of(comm).rank == root ? out : nullptr,
              .count = count,
              .type = type,
              .op = op,
              .peer = root});
}

FAKE_API NcclResult ncclReduceScatter(const void* in, void* out, std::size_t count,
                                      NcclDataType type, NcclRedOp op, NcclComm comm,
                                      NcclStream stream) {
  return Add(
      comm, stream,
      {.kind = Kind::kReduceScatter, .in = in, .out = out, .count = count, .type = type, .op = op});
}

FAKE_API NcclResult ncclAllGather(const void* in, void* out, std::size_t count, NcclDataType type,
                                  NcclComm comm, NcclStream stream) {
  return Add(comm, stream,
             {.kind = Kind::kAllGather, .in = in, .out = out, .count = count, .type = type});
}

FAKE_API NcclResult ncclBroadcast(const void* in, void* out, std::size_t count, NcclDataType type,
                                  int root, NcclComm comm, NcclStream stream) {
  return Add(comm, stream,
             {.kind = Kind::kBroadcast,
              .in = Of(comm).rank == root ? in : nullptr,
              .out = out,
              .count = count,
              .type = type,
              .peer = root});
}

FAKE_API NcclResult ncclSend(const void* in, std::size_t count, NcclDataType type, int peer,
                             NcclComm comm, NcclStream stream) {
  return Add(comm, stream,
             {.kind = Kind::kSend, .in = in, .count = count, .type = type, .peer = peer});
}

FAKE_API NcclResult ncclRecv(void* out, std::size_t count, NcclDataType type, int peer,
                             NcclComm comm, NcclStream stream) {
  return Add(comm, stream,
             {.kind = Kind::kRecv, .out = out, .count = count, .type = type, .peer = peer});
}

#if FAKE_NCCL_VERSION >= 21900
FAKE_API CudaError cudaMalloc(void** memory, std::size_t bytes);
FAKE_API CudaError cudaFree(void* memory);

FAKE_API NcclResult ncclMemAlloc(void** memory, std::size_t bytes) {
  return cudaMalloc(memory, bytes) == kCudaSuccess ? kNcclSuccess : kNcclUnhandledCudaError;
}

FAKE_API NcclResult ncclMemFree(void* memory) {
  return cudaFree(memory) == kCudaSuccess ? kNcclSuccess : kNcclUnhandledCudaError;
}
#endif

#if FAKE_NCCL_VERSION >= 22703
FAKE_API NcclResult ncclCommWindowRegister(NcclComm comm, void* memory, std::size_t bytes,
                                           NcclWindow* window, int) {
  const Inside inside(comm);
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  if (at % kNcclWindowAlignment != 0 || bytes % kNcclWindowAlignment != 0) {
    return kNcclInvalidArgument;
  }
  *window = memory;
  return kNcclSuccess;
}

FAKE_API NcclResult ncclCommWindowDeregister(NcclComm comm, NcclWindow) {
  const Inside inside(comm);
  return kNcclSuccess;
}

FAKE_API NcclResult ncclCommShrink(NcclComm handle, int* excluded, int excluded_count,
                                   NcclComm* part, NcclConfig* config, int flags) {
  const Inside inside(handle, true);
  const Locked lock;
  CheckConfig(config);
  Comm& comm = Of(handle);
  if (flags == kNcclShrinkAbort) comm.revoked = true;
  fake_cuda_progress();
  comm.error = kNcclSuccess;
  comm.splitting = true;
  auto& asked = comm.room->splits[(std::uint64_t{1} << 32U) + comm.splits++];
  asked[comm.rank] = {.color = 0, .key = comm.rank, .parent = &comm, .answer = part};
  static_cast<void>(excluded);
  if (asked.size() + static_cast<std::size_t>(excluded_count) == comm.room->ranks) {
    Part(asked);
  }
  return kNcclInProgress;
}
#endif

#if FAKE_NCCL_VERSION >= 22807
FAKE_API NcclResult ncclCommRevoke(NcclComm handle, int flags) {
  const Inside inside(handle, true);
  const Locked lock;
  Comm& comm = Of(handle);
  if (flags != 0) return kNcclInvalidArgument;
  comm.revoked = true;
  comm.error = kNcclSuccess;
  comm.looks = 1;
  for (auto& [stream, batch] : comm.deferred) delete batch;
  comm.deferred.clear();
  fake_cuda_progress();
  return kNcclInProgress;
}
#endif

// NOLINTEND(readability-identifier-naming,readability-function-size): the names are NCCL's.

}  // namespace muster::testing
