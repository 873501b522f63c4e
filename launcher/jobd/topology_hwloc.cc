#include "launcher/jobd/topology_hwloc.h"

#include <hwloc.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "runtime/base/file_posix.h"

namespace muster {
namespace {

struct Destroy {
  void operator()(hwloc_topology* topology) const { hwloc_topology_destroy(topology); }
};
using Topology = std::unique_ptr<hwloc_topology, Destroy>;

Core CoreOf(hwloc_const_bitmap_t cpus, hwloc_const_bitmap_t numas) {
  Core core;
  for (int cpu = hwloc_bitmap_first(cpus); cpu != -1; cpu = hwloc_bitmap_next(cpus, cpu)) {
    core.cpus.push_back(static_cast<std::uint32_t>(cpu));
  }
  core.numa = std::max(hwloc_bitmap_first(numas), 0);
  return core;
}

}  // namespace

Result<std::vector<Core>> ReadCores(const std::string& synthetic) {
  hwloc_topology* made = nullptr;
  if (hwloc_topology_init(&made) != 0) return ErrnoStatus("hwloc_topology_init", errno);
  const Topology topology(made);
  if (!synthetic.empty() && hwloc_topology_set_synthetic(made, synthetic.c_str()) != 0) {
    return Status(Code::kInvalid, "hwloc does not know the machine '" + synthetic + "'");
  }
  if (hwloc_topology_load(made) != 0) return ErrnoStatus("hwloc_topology_load", errno);
  // Some machines, and most containers, tell of hardware threads but not of cores.
  const bool tells = hwloc_get_nbobjs_by_type(made, HWLOC_OBJ_CORE) > 0;
  const hwloc_obj_type_t type = tells ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU;
  std::vector<Core> cores;
  for (hwloc_obj_t object = nullptr;
       (object = hwloc_get_next_obj_by_type(made, type, object)) != nullptr;) {
    Core core = CoreOf(object->cpuset, object->nodeset);
    if (!core.cpus.empty()) cores.push_back(std::move(core));
  }
  return cores;
}

}  // namespace muster
