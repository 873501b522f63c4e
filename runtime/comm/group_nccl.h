// Process groups over NCCL 2.18 to 2.30, one GPU a rank.
//
// Buffers are memory of the GPU; the host's is taken too, and copied there and back.  Reductions
// are in the order of the ranks by default, as on every backend: NCCL moves, our kernel combines
// (libmuster_cuda.so), for the same bytes on the wire; Reductions::kLibrary leaves them to NCCL,
// whose order is its own.
//
// Everything of NCCL is called by one thread of the group ("engine").  Whoever waits, waits for
// that thread with a deadline of his own, and the thread looks at the operation, at the
// communicator's asynchronous error, at the abort and at the deadline; so nothing waits for ever,
// whatever hangs. Beside each collective the ranks' calls go round (16 bytes, in the same stream
// before it), so that ranks that disagree are told; check_calls turns it off.
//
// A send ends when its recv has taken it.  Each direction of a pair of ranks gets a communicator of
// its own at its first message.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "runtime/comm/kv.h"
#include "runtime/comm/nccl_library_nccl.h"
#include "runtime/comm/process_group.h"
#include "runtime/gpu/cuda_library_cuda.h"
#include "runtime/gpu/kernels_cuda.h"

namespace muster {

class Scratch;

struct NcclOptions {
  enum class Reductions {
    kRankOrder,  // The same bits as on every backend; needs libmuster_cuda.so.
    kLibrary     // NCCL's own: faster with NVLink SHARP; another order.
  };
  int device = 0;  // Of those that this process sees.
  Reductions reductions = Reductions::kRankOrder;
  bool check_calls = true;
  // The stream (cudaStream_t) that writes the buffers: a call begins behind what it holds then.
  // Null: buffers are ready when a call is made.
  void* after_stream = nullptr;
  // How long ranks may take to become a group.
  Duration init_timeout = std::chrono::minutes(2);
  // How long NCCL may take to let go of what was aborted, before it is left to itself.
  Duration patience = std::chrono::seconds(2);
  // Asked about ten times a second while something is pending: not ok, once the attempt is over.
  std::function<Status()> attempt;
};

class NcclSession {
 public:
  // Where to look for the libraries; empty: where each of them says.
  struct Paths {
    std::string nccl, cuda, kernels;
  };
  // kUnavailable: a library is missing or too old, or there is no such GPU.
  static Result<std::unique_ptr<NcclSession>> Start(const Paths& paths,
                                                    std::shared_ptr<KeyValueStore> store,
                                                    NcclOptions options);

  // Ranks 0..ranks-1 as one group.  Collective.  `name`: the same on all ranks, used once an
  // attempt.  kDeadline: not all came; the message names who did not.
  Result<std::unique_ptr<ProcessGroup>> World(const std::string& name, int rank, int ranks,
                                              Duration timeout = kPeerTimeout);

  const NcclLibrary& nccl() const { return *parts_.nccl; }

  // What groups share.
  struct Parts {
    std::shared_ptr<const NcclLibrary> nccl;
    std::shared_ptr<const CudaLibrary> cuda;
    std::shared_ptr<const GpuKernels> kernels;  // Null with kLibrary and no plug-in.
    std::shared_ptr<Scratch> scratch;
    std::shared_ptr<KeyValueStore> store;
    NcclOptions options;
  };

 private:
  explicit NcclSession(Parts parts) : parts_(std::move(parts)) {}

  const Parts parts_;
};

}  // namespace muster
