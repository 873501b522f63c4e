// Saves that an attempt staged and did not commit, as the head of the next one hears of them from
// each host: which of them are whole.
//
// A save is whole when every node that wrote it has its part, in the shared store or in its own
// local one.  Pure; any thread.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/mover_parts.h"

namespace muster {

class LeftoverTable {
 public:
  struct Holder {
    std::uint32_t host = 0;
    mover::Part part;
    bool shared = false;  // The shared store has it.
  };

  // Parts of one save that two hosts have are the same; the one that is in the shared store counts.
  void Add(const Holder& holder) {
    const auto [at, fresh] = saves_[holder.part.save].emplace(holder.part.report.node, holder);
    if (!fresh && holder.shared) at->second = holder;
  }

  // By node; oldest save first.
  std::vector<std::vector<Holder>> Whole() const {
    std::vector<std::vector<Holder>> all;
    for (const auto& [save, by_node] : saves_) {
      std::vector<Holder> holders;
      for (const auto& [node, holder] : by_node) {
        const bool next = node == holders.size() &&
                          holder.part.report.nodes == by_node.begin()->second.part.report.nodes;
        if (next) holders.push_back(holder);
      }
      if (holders.size() == by_node.begin()->second.part.report.nodes &&
          by_node.size() == holders.size()) {
        all.push_back(std::move(holders));
      }
    }
    return all;
  }

 private:
  std::map<mover::SaveName, std::map<std::uint32_t, Holder>> saves_;
};

// What the head of a new attempt does before it claims the run.
struct Gathering {
  std::set<std::uint32_t> silent;  // Hosts that have not told all yet.
  LeftoverTable table;
  std::deque<std::vector<LeftoverTable::Holder>> whole;  // To be committed, the first one now.
  std::set<std::uint32_t> moving;                        // Nodes of the first one.
  std::string error;
};

}  // namespace muster
