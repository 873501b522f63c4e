// The GPUs and fabric NICs of this machine, as the kernel shows them: no driver library is needed.
//
// Any thread.
#pragma once

#include <string>
#include <vector>

#include "launcher/jobd/binding.h"

namespace muster {

// NVIDIA's GPUs by PCI address: the order of CUDA_DEVICE_ORDER=PCI_BUS_ID.  `root`: of another file
// system than this machine's.
std::vector<Device> ReadGpus(const std::string& root = "");

// RDMA devices ("mlx5_0"), by name.
std::vector<Device> ReadNics(const std::string& root = "");

// NUMA nodes that are online; 1 where the kernel does not tell.
std::size_t CountNumaNodes(const std::string& root = "");

}  // namespace muster
