#include "launcher/cli/cluster_dir.h"

#include <nlohmann/json.hpp>

namespace muster {
namespace {

constexpr std::size_t kLongestSocketPath = 100;  // The kernel takes 107.
constexpr const char* kAnyDaemon = "01234567";

}  // namespace

std::string ToJson(const ClusterDescription& cluster) {
  const nlohmann::ordered_json json = {{"name", cluster.name},
                                       {"short_id", cluster.short_id},
                                       {"runtime", cluster.runtime},
                                       {"private", cluster.is_private},
                                       {"nodes", cluster.nodes},
                                       {"slots", cluster.slots},
                                       {"keeper_pid", cluster.keeper_pid},
                                       {"keeper_start", cluster.keeper_start},
                                       {"started_us", cluster.started_us}};
  return json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

Result<ClusterDescription> ParseClusterDescription(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const Status broken(Code::kDataLoss, "not a cluster's description");
  if (!json.is_object()) return broken;
  ClusterDescription cluster;
  bool whole = true;
  const auto text_of = [&](const char* key, std::string& out) {
    const auto found = json.find(key);
    whole = whole && found != json.end() && found->is_string();
    if (whole) out = found->get<std::string>();
  };
  const auto number_of = [&](const char* key, auto& out) {
    const auto found = json.find(key);
    whole = whole && found != json.end() && found->is_number_integer();
    if (whole) out = found->get<std::remove_reference_t<decltype(out)>>();
  };
  text_of("name", cluster.name);
  text_of("short_id", cluster.short_id);
  text_of("runtime", cluster.runtime);
  number_of("nodes", cluster.nodes);
  number_of("slots", cluster.slots);
  number_of("keeper_pid", cluster.keeper_pid);
  number_of("keeper_start", cluster.keeper_start);
  number_of("started_us", cluster.started_us);
  const auto is_private = json.find("private");
  whole = whole && is_private != json.end() && is_private->is_boolean();
  if (!whole || cluster.short_id.empty()) return broken;
  cluster.is_private = is_private->get<bool>();
  return cluster;
}

ClusterPaths PathsOf(const std::string& state, const ClusterDescription& cluster) {
  return {.state = state, .runtime = cluster.runtime, .short_id = cluster.short_id};
}

NodeName EmbeddedNode(std::uint32_t index) {
  return "n" + std::to_string(index);
}

std::string EmbeddedYaml(const ClusterDescription& cluster) {
  std::string text = "# Written by muster for a cluster on one host.\nname: " + cluster.name +
                     "\nlisten: 127.0.0.1:0\nnodes:\n";
  for (std::uint32_t i = 0; i < cluster.nodes; ++i) {
    text += "  - {name: " + EmbeddedNode(i) + ", slots: " + std::to_string(cluster.slots) + "}\n";
  }
  return text;
}

Status CheckSocketPaths(const ClusterPaths& paths, const NodeName& longest_node) {
  const std::string socket = paths.DaemonSocket(longest_node, kAnyDaemon);
  if (socket.size() <= kLongestSocketPath) return {};
  return Status(Code::kInvalid,
                "the path of a socket would be too long: " + socket + " has " +
                    std::to_string(socket.size()) + " bytes, at most " +
                    std::to_string(kLongestSocketPath) +
                    " are allowed; set XDG_RUNTIME_DIR to a shorter folder of yours");
}

}  // namespace muster
