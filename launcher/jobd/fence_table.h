// The head's side of PMIx fences: collects what each host contributes until all are there.
//
// A fence is named by its participants and a number, so one of them may come here before the head's
// own ranks know of it.  Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace muster {

class FenceTable {
 public:
  struct Complete {
    std::string blob;                  // Everyone's, in host order.
    std::vector<std::uint32_t> hosts;  // Who waits for it.
  };

  // What a host brings; the whole once `expected` hosts did.  A host that brings twice counts once.
  std::optional<Complete> Bring(std::uint32_t host_index, const std::string& key,
                                std::uint32_t expected, const std::string& blob) {
    auto& brought = open_[key];
    brought[host_index] = blob;
    if (brought.size() < expected) return std::nullopt;
    Complete complete;
    for (const auto& [host, part] : brought) {
      complete.blob += part;
      complete.hosts.push_back(host);
    }
    open_.erase(key);
    return complete;
  }

  // The attempt is over.
  void Clear() { open_.clear(); }

 private:
  std::map<std::string, std::map<std::uint32_t, std::string>> open_;
};

}  // namespace muster
