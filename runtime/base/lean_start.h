// What hwloc looks for in every process that starts MPI, and nobody there needs (D1a): PCI devices,
// and plug-ins for displays, OpenCL and the like, a quarter of MPI_Init's instructions.
//
// All of these or, where somebody set one of them otherwise, none: they exclude each other's work.
#pragma once

#include <algorithm>
#include <array>

namespace muster {

struct LeanSetting {
  const char* name;
  const char* value;
};

// Of pci and linuxio both or neither: either alone makes hwloc slower.
inline constexpr std::array<LeanSetting, 2> kLeanHwloc = {
    {{"HWLOC_COMPONENTS", "-pci,-linuxio"}, {"HWLOC_PLUGINS_PATH", "/dev/null"}}};

// `is_set(name)`: somebody has chosen it already.
template <typename IsSet>
bool MayLeanHwloc(const IsSet& is_set) {
  return std::none_of(kLeanHwloc.begin(), kLeanHwloc.end(),
                      [&](const LeanSetting& setting) { return is_set(setting.name); });
}

}  // namespace muster
