// What job files and command lines say in a word or two: resource limits, node counts, and the
// names of ways to bind.  Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "runtime/base/orders.h"
#include "runtime/base/result.h"

namespace muster {

// A resource limit, soft and hard, by the name that ulimit and limits.conf give it: "core",
// "nofile", "memlock", ...  The value is a number, or one with K, M or G (1024's), or "unlimited".
Result<ResourceLimit> MakeLimit(std::string_view name, std::string_view value);
// "core=unlimited".
Result<ResourceLimit> ParseLimit(std::string_view text);

struct NodeRange {
  std::uint32_t least = 1, most = 1;
  bool operator==(const NodeRange&) const = default;
};
// "4", or "1:4" for as many of them as there are; each 1..100000.
Result<NodeRange> ParseNodes(std::string_view text);

const std::map<std::string, Bind>& BindNames();        // "auto", "none", "core", "numa".
const std::map<std::string, GpuView>& GpuViewNames();  // "node", "rank".

}  // namespace muster
