// One call on its way through a stream and a communicator, as steps, each begun when NCCL has taken
// the one before.
//
// Used by the engine's thread, but for the end, which any thread may look at.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "runtime/comm/communicator_threads.h"
#include "runtime/comm/group_nccl.h"
#include "runtime/comm/scratch_nccl.h"

namespace muster {

// Where steps put their work.
struct Lane {
  Communicator* communicator = nullptr;
  CudaStream stream = nullptr;
};

struct Step {
  // kAwait: begun when the stream has done what was put there before.
  enum class Kind { kEnqueue, kAwait } kind = Kind::kEnqueue;
  std::function<Status(const Lane&)> run;
};

// Holds what it took until its own end: by then nothing in a stream uses it.
class Operation {
 public:
  Operation(const NcclSession::Parts& parts, const Call& what)
      : call(what), parts_(parts), scratch_(parts.scratch) {}
  ~Operation();
  Operation(const Operation&) = delete;
  Operation& operator=(const Operation&) = delete;

  const Call call;
  std::deque<Step> steps;
  std::vector<std::function<void()>> finish;  // On the host, when the stream has done it all.
  CudaEvent last = nullptr;                   // Behind all steps.
  TimePoint began{};                          // Its first step.
  bool told = false;                          // Others were told that this rank is here.

  // Behind what `parts.options.after_stream` holds now.  The caller's thread.
  Status FollowUser();

  // The steps of a collective.
  Status PlanCollective(int rank, int ranks);

  // The ranks' calls, once they are there: kInvalid if they differ.
  Status CheckAgreement();

  Result<std::byte*> Take(Scratch::Place place, std::size_t bytes);
  // A group of NCCL's calls; `calls` makes them all.
  using NcclCalls = std::function<NcclResult(const NcclApi&, NcclComm, CudaStream)>;
  void AddNccl(const std::string& doing, NcclCalls calls);
  void AddCopy(void* to, const void* from, std::size_t bytes);
  Result<CudaEvent> TakeEvent();
  // The stream's work is not known to have ended: what it uses must stay.
  void Leak() { leak_ = true; }

 private:
  Status Stage(bool reads, bool writes);
  void AddThen();
  Result<bool> OnDevice(const void* memory) const;
  void PlanCheck(int rank, int ranks, std::byte* mine, std::byte* device);
  Status PlanReduction(int rank, int ranks);
  void PlanMoves(int rank, int ranks);
  void PlanExchange(int rank, int ranks);
  void PlanOwnPart(int rank);

  // Sums in the order of the ranks.
  Status PlanOrdered(int rank, int ranks);
  void Deal(const std::byte* in, std::size_t stride, std::size_t n, int ranks, std::byte* matrix);
  void Combine(const std::byte* matrix, std::size_t n, int ranks, std::byte* out);

  const NcclSession::Parts& parts_;
  const std::shared_ptr<Scratch> scratch_;
  std::vector<Scratch::Block> blocks_;
  std::vector<CudaEvent> events_;
  bool leak_ = false;

  // The buffers as the device sees them.
  const std::byte* in_ = nullptr;
  std::byte* out_ = nullptr;

  CudaEvent checked_ = nullptr;  // The others' calls are in all_.
  const Signature* all_ = nullptr;
  int ranks_ = 1;
};

NcclDataType NcclTypeOf(DType dtype);

}  // namespace muster
