// A process group: ranks that talk collectively.  The verbs are those of c10d; collective.h has
// their shapes.
//
// Every rank of the group makes the same collective calls in the same order, blocking or started.
// Ranks that disagree on one are told so, each with what every rank called.  A send is received by
// one recv with the same peers and tag; another type or size is an error of the recv.
//
// Errors: kInvalid for arguments (this rank's call has then not happened) and for ranks that
// disagree; kDeadline when a rank did not come in time; otherwise what the backend says.  After any
// error of a collective but that of its arguments, and after the deadline of a blocking send or
// recv, the group is aborted: every call ends with that error.
//
// One instance belongs to one rank and is used by one thread at a time; abort() by any.
#pragma once

#include <memory>
#include <string>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"
#include "runtime/comm/backend.h"
#include "runtime/comm/collective.h"

namespace muster {

// How long a peer may be silent before a wait gives up with kDeadline.  A dead peer is the
// launcher's to notice, much earlier; this ends the waits that nobody else would end.
inline constexpr Duration kPeerTimeout = std::chrono::minutes(10);

// A call that was started.  Its buffers are left alone until it has ended; to destroy the Work
// before does not end the call.  It does not outlive its group.
class Work {
 public:
  explicit Work(std::uint64_t seq) : seq_(seq) {}
  virtual ~Work() = default;
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;

  // Whether it has ended, well or not: wait() then returns at once.
  virtual bool done() = 0;
  // How it ended.  kDeadline: it has not, and may be waited for again.
  virtual Status wait(Duration timeout = kPeerTimeout) = 0;
  // The call's number in its group; collectives, and sends and recvs, count apart, from 1.
  std::uint64_t seq() const { return seq_; }

 private:
  const std::uint64_t seq_;
};

// A call that ended before it began.
class EndedWork final : public Work {
 public:
  EndedWork(std::uint64_t seq, Status status) : Work(seq), status_(std::move(status)) {}
  bool done() override { return true; }
  Status wait(Duration) override { return status_; }

 private:
  const Status status_;
};

// Hears of every call of a group: where a recorder hooks in.  It must not block.
class CollectiveObserver {
 public:
  virtual ~CollectiveObserver() = default;
  // On the rank's thread, when the call was checked.
  virtual void Began(std::uint64_t seq, const Collective& call) = 0;
  // On the thread that saw the end.
  virtual void Ended(std::uint64_t seq, const Collective& call, const Status& status) = 0;
  // Of a group that call `seq` of this one split off: the part of that color.  Null: nobody.
  virtual std::unique_ptr<CollectiveObserver> OfPart(std::uint64_t seq, std::int64_t color) {
    static_cast<void>(seq);
    static_cast<void>(color);
    return nullptr;
  }
};

class ProcessGroup {
 public:
  // `timeout`: of blocking verbs, and of what is started.
  explicit ProcessGroup(std::unique_ptr<Backend> backend, Duration timeout = kPeerTimeout)
      : backend_(std::move(backend)), timeout_(timeout) {}

  int rank() const { return backend_->rank(); }
  int world_size() const { return backend_->world_size(); }
  const char* backend() const { return backend_->name(); }

  Status all_reduce(Buffer buffer, ReduceOp op) { return Run(Collective::AllReduce(buffer, op)); }
  Status all_reduce(ConstBuffer in, Buffer out, ReduceOp op) {
    return Run(Collective::AllReduce(in, out, op));
  }
  Status reduce_scatter(ConstBuffer in, Buffer out, ReduceOp op) {
    return Run(Collective::ReduceScatter(in, out, op));
  }
  Status all_gather(ConstBuffer in, Buffer out) { return Run(Collective::AllGather(in, out)); }
  Status broadcast(Buffer buffer, int root) { return Run(Collective::Broadcast(buffer, root)); }
  Status reduce(ConstBuffer in, Buffer out, ReduceOp op, int root) {
    return Run(Collective::Reduce(in, out, op, root));
  }
  Status all_to_all(ConstBuffer in, Buffer out) { return Run(Collective::AllToAll(in, out)); }
  Status gather(ConstBuffer in, Buffer out, int root) {
    return Run(Collective::Gather(in, out, root));
  }
  Status scatter(ConstBuffer in, Buffer out, int root) {
    return Run(Collective::Scatter(in, out, root));
  }
  Status barrier() { return Run(Collective::Barrier()); }
  Status send(ConstBuffer in, int to, int tag = 0) { return Run(Collective::Send(in, to, tag)); }
  Status recv(Buffer out, int from, int tag = 0) { return Run(Collective::Recv(out, from, tag)); }

  // Any of them without waiting.  Never null; what is wrong with the call, wait() says.  It makes
  // progress by itself.
  std::unique_ptr<Work> start(const Collective& call) { return start(call, {}); }
  // The work has ended when `then` has, too.  kUnimplemented: a group of the host's (only nccl has
  // streams), or a send or recv.
  std::unique_ptr<Work> start(const Collective& call, Then then);

  // Collective: the ranks of one color, ordered by (key, rank), become a group.  A negative color
  // becomes none, and gets null.
  Result<std::unique_ptr<ProcessGroup>> split(int color, int key);

  // The ranks but for the `lost` ones become a group, in their order.  Collective of those that are
  // left, also when this group was aborted; afterwards it is.  kInvalid: `lost` names this rank, a
  // rank twice, or one that is not in the group.  kUnimplemented: where ranks live and die together
  // (threads, mpi, hybrid); there the launcher starts a new attempt.
  Result<std::unique_ptr<ProcessGroup>> shrink(std::vector<int> lost);

  // Collective.  Memory that this group moves best, for buffers; it lives as long as the group.
  // nccl: of the GPU, symmetric from NCCL 2.27 on (4096 bytes aligned); others: the host's.
  Result<void*> allocate(std::size_t bytes) { return backend_->Allocate(bytes); }

  // Ends what this rank waits for, and its later calls, with `reason`.  Any thread.
  void abort(Status reason) { backend_->Abort(std::move(reason)); }

  // Of later calls, and of groups that are split off later.
  void set_timeout(Duration timeout) { timeout_ = timeout; }

  // Outlives the group; null: nobody.  Groups that are split off later get their own of it.
  void observe(CollectiveObserver* observer) { observer_ = observer; }

  // Collective calls so far.
  std::uint64_t seq() const { return collectives_; }

 private:
  Status Admit(const Collective& collective, Call* call);
  Status Run(const Collective& collective);

  // Of this part: goes when nothing is under way any more.
  std::unique_ptr<CollectiveObserver> own_observer_;
  const std::unique_ptr<Backend> backend_;
  Duration timeout_;
  CollectiveObserver* observer_ = nullptr;
  std::uint64_t collectives_ = 0;
  std::uint64_t transfers_ = 0;
};

}  // namespace muster
