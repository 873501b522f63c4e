// How the ranks of a job are started, beyond the program itself.
//
// The user asks for it, the coordinator carries it unread, the job daemon does it.  Carried in the
// form of wire.h: new members go at the end.  Pure values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace muster {

// What a rank is tied to.
enum class Bind : std::uint8_t {
  kAuto,  // The cores nearest to its slot where the machine has several NUMA nodes, else nothing.
  kNone,
  kCore,  // Its own share of the cores.
  kNuma,  // All cores of one NUMA node.
};

// What CUDA_VISIBLE_DEVICES shows.
enum class GpuView : std::uint8_t {
  kNode,  // Those of all the job's ranks on the node: a rank takes the LOCAL_RANK'th (torchrun).
  kRank,  // Its own only.
};

struct LaunchOptions {
  // Environments beside torchrun's, PMIx's, JAX's and MUSTER_*; of kContracts.
  std::vector<std::string> contracts;
  Bind bind = Bind::kAuto;
  GpuView gpu_view = GpuView::kNode;
  // Texts for /bin/sh -c, once a node: before the ranks of an attempt start, and after all left.
  std::string prolog, epilog;
  bool stdin_rank0 = false;  // Rank 0 reads what the submitter's stream of input brings.
  bool pty = false;          // Rank 0 has a terminal of this size.
  std::uint32_t rows = 0, columns = 0;
  bool operator==(const LaunchOptions&) const = default;
  template <typename A>
  void Fields(A& a) {
    a(contracts, bind, gpu_view, prolog, epilog, stdin_rank0, pty, rows, columns);
  }
};

inline const std::vector<std::string> kContracts = {"deepspeed", "horovod", "openmpi", "slurm"};

}  // namespace muster
