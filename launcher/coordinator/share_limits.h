// What the jobs of a cluster may write to a share together, and what of it is one attempt's.
//
// An attempt has the part of a share's limit that its slots are of the cluster's.  No slot is ever
// given twice, so the parts of all attempts never come to more than the limit, whoever comes, goes,
// or cannot be reached, and nobody has to be told when others do.  Nodes that the cluster file
// names no more have no part; a store on no share has no limit.  Pure; any thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace muster {

struct ShareLimit {
  std::string path;  // A folder, or nfs://HOST/EXPORT: it and all below it.
  std::uint64_t bytes_per_s = 0;
  bool operator==(const ShareLimit&) const = default;
};

// Slots, of an attempt and of the cluster.
struct Portion {
  std::uint64_t slots = 0, of = 0;
};

inline bool IsOnShare(std::string_view store, std::string_view share) {
  const auto bare = [](std::string_view path) {
    path = path.substr(0, path.starts_with("nfs://") ? path.find('?') : path.size());
    while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
    return path;
  };
  store = bare(store);
  share = bare(share);
  if (share == "/") return store.starts_with('/');
  return store.starts_with(share) && (store.size() == share.size() || store[share.size()] == '/');
}

// What an attempt may write to its store; 0: no limit.  `own` is what its job asks for, or 0.
inline std::uint64_t AttemptLimit(const std::vector<ShareLimit>& shares, std::string_view store,
                                  std::uint64_t own, Portion portion) {
  std::uint64_t least = own;
  for (const ShareLimit& share : shares) {
    if (share.bytes_per_s == 0 || !IsOnShare(store, share.path)) continue;
    const std::uint64_t of = std::max<std::uint64_t>(portion.of, 1);
    const std::uint64_t slots = std::min(portion.slots, of);
    const std::uint64_t part = share.bytes_per_s / of * slots + share.bytes_per_s % of * slots / of;
    least =
        least == 0 ? std::max<std::uint64_t>(part, 1) : std::clamp<std::uint64_t>(part, 1, least);
  }
  return least;
}

}  // namespace muster
