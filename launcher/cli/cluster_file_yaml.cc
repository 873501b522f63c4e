
#include "launcher/cli/cluster_file.h"
#include "launcher/cli/option_checks.h"
#include "launcher/cli/section_yaml.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

void ReadNode(const YAML::Node& item, const std::string& path, ClusterFile& cluster,
              Mistakes& mistakes) {
  if (!item.IsMap()) {
    mistakes.push_back(
        {item.Mark().line + 1, item.Mark().column + 1,
         "'" + path + "' must be a map such as {name: n0, slots: 8}, found " + Describe(item)});
    return;
  }
  NodeEntry node;
  Section section(item, path, mistakes);
  section.Text("name", node.name);
  if (!section.Has("name")) {
    section.Wrong("name", "is missing");
  } else if (!IsName(node.name)) {
    section.Wrong("name",
                  "takes letters, digits, '.', '-' and '_', at most 63, found '" + node.name + "'");
  }
  for (const NodeEntry& other : cluster.nodes) {
    if (other.name == node.name) section.Wrong("name", "'" + node.name + "' is taken already");
  }
  section.Text("address", node.address);
  section.Count("slots", node.slots, {.least = 1, .most = 4096});
  section.Text("block", node.block);
  section.Text("leaf", node.leaf);
  section.Text("spine", node.spine);
  for (const char* key : {"gpus", "gpu_model", "rails"}) section.NotYet(key);
  section.Done();
  cluster.nodes.push_back(std::move(node));
}

void ReadShare(const YAML::Node& item, const std::string& path, ClusterFile& cluster,
               Mistakes& mistakes) {
  if (!item.IsMap()) {
    mistakes.push_back({item.Mark().line + 1, item.Mark().column + 1,
                        "'" + path +
                            "' must be a map such as {path: /nfs, limit_mb_per_s: 500}, "
                            "found " +
                            Describe(item)});
    return;
  }
  Section section(item, path, mistakes);
  ShareEntry share;
  section.Text("path", share.path);
  const std::string wrong = section.Has("path") ? CheckStore(share.path) : "is missing";
  if (!wrong.empty()) section.Wrong("path", wrong);
  for (const ShareEntry& other : cluster.shares) {
    if (other.path == share.path) section.Wrong("path", "'" + share.path + "' has a limit already");
  }
  std::uint32_t mb_per_s = 0;
  section.Count("limit_mb_per_s", mb_per_s, {.least = 1});
  if (!section.Has("limit_mb_per_s")) section.Wrong("limit_mb_per_s", "is missing");
  share.bytes_per_s = std::uint64_t{mb_per_s} * 1'000'000;
  section.Done();
  cluster.shares.push_back(std::move(share));
}

}  // namespace

bool IsHostPort(const std::string& text) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  const auto port = ParseUnsigned(std::string_view(text).substr(colon + 1));
  return port.has_value() && *port <= 65535;
}

Result<ClusterFile> ParseClusterFile(const std::string& file, const std::string& text) {
  ClusterFile cluster;
  Mistakes mistakes;
  const YAML::Node root = ParseYaml(text, mistakes);
  if (mistakes.empty() && !root.IsMap()) {
    mistakes.push_back({1, 1, "a cluster file is a map of keys, found " + Describe(root)});
  }
  if (!mistakes.empty()) return MistakesStatus(file, mistakes);
  Section top(root, "", mistakes);
  top.Text("name", cluster.name);
  if (!IsName(cluster.name)) {
    top.Wrong("name",
              "takes letters, digits, '.', '-' and '_', at most 63, found '" + cluster.name + "'");
  }
  top.Text("listen", cluster.listen);
  if (!IsHostPort(cluster.listen)) {
    top.Wrong("listen", "must be HOST:PORT, such as 0.0.0.0:7077, found '" + cluster.listen + "'");
  }
  top.Text("state_dir", cluster.state_dir);
  if (!cluster.state_dir.empty() && cluster.state_dir[0] != '/') {
    top.Wrong("state_dir", "must begin with /, found '" + cluster.state_dir + "'");
  }
  std::size_t index = 0;
  for (const auto& item : top.List("nodes")) {
    ReadNode(item, "nodes[" + std::to_string(index++) + "]", cluster, mistakes);
  }
  if (index == 0) top.Wrong("nodes", "must list at least one node, such as {name: n0, slots: 8}");
  index = 0;
  for (const auto& item : top.List("shares")) {
    ReadShare(item, "shares[" + std::to_string(index++) + "]", cluster, mistakes);
  }
  top.Done();
  if (!mistakes.empty()) return MistakesStatus(file, mistakes);
  return cluster;
}

}  // namespace muster
