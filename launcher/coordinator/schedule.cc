#include "launcher/coordinator/schedule.h"

#include "launcher/coordinator/attempt.h"

namespace muster {
namespace {

std::map<NodeName, std::set<std::uint32_t>> Taken(const State& state) {
  std::map<NodeName, std::set<std::uint32_t>> taken;
  for (const auto& [id, job] : state.jobs) {
    if (job.phase != JobPhase::kRunning) continue;
    for (const Member& member : job.attempt->members) {
      const auto node = state.nodes.find(member.host.node);
      if (node == state.nodes.end() || node->second.boot_id != member.boot_id) continue;
      taken[member.host.node].insert(member.host.slots.begin(), member.host.slots.end());
    }
  }
  return taken;
}

std::string Unusable(const Node& node, const Job& job) {
  if (node.incarnation == 0) return "has not come up yet";
  if (node.lost) return "is lost";
  if (!node.drained.empty()) return "is drained: " + node.drained;
  if (node.leftovers.contains(job.id)) return "still ends this job's former daemon";
  return "";
}

}  // namespace

std::vector<NodeView> ViewFor(const State& state, const Job& job) {
  const auto taken = Taken(state);
  std::vector<NodeView> views;
  for (const auto& [name, node] : state.nodes) {
    NodeView view{.name = name,
                  .addresses = node.addresses,
                  .block = node.block,
                  .leaf = node.leaf,
                  .spine = node.spine,
                  .slots = node.slots,
                  .unusable = Unusable(node, job),
                  .preferred = FindMember(job, name) != nullptr};
    const auto used = taken.find(name);
    for (std::uint32_t slot = 0; slot < node.slots; ++slot) {
      if (used == taken.end() || !used->second.contains(slot)) view.free_slots.push_back(slot);
    }
    views.push_back(std::move(view));
  }
  return views;
}

std::string WaitsForRun(const State& state, const Job& job) {
  if (job.spec.checkpoint.resume.empty()) return "";
  for (const auto& [id, other] : state.jobs) {
    if (id == job.id || other.run_id != job.run_id) continue;
    const std::string name = "job " + std::to_string(id);
    if (other.phase == JobPhase::kRunning || (other.phase == JobPhase::kPending && id < job.id)) {
      return "waits for the end of " + name + ", which has the same run, " + job.run_id;
    }
    for (const auto& [node_name, node] : state.nodes) {
      if (node.lost || !node.leftovers.contains(id)) continue;
      return "waits for what " + name + " of the same run still writes on " + node_name;
    }
  }
  return "";
}

Wish WishOf(const JobSpec& spec) {
  return {.nodes = spec.nodes,
          .ranks_per_node = spec.ranks_per_node,
          .min_nodes = spec.min_nodes == 0 ? spec.nodes : spec.min_nodes};
}

}  // namespace muster
