#include "launcher/cli/wish_posix.h"

#include <algorithm>
#include <filesystem>

#include "launcher/cli/caller_posix.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

// /dev/nvidia0, /dev/nvidia1, ...
std::uint32_t HostGpus() {
  std::uint32_t count = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/dev", error)) {
    const std::string name = entry.path().filename();
    if (name.rfind("nvidia", 0) == 0 && ParseUnsigned(name.substr(6))) ++count;
  }
  return count;
}

}  // namespace

Status LookUp(RunCommand& run) {
  if (run.python) {
    if (const auto python = GetEnv("PYTHON_EXEC"); python && !python->empty()) {
      run.job.command.at(0) = *python;
    }
  }
  if (!run.wish || run.wish->hostfile.empty() || run.wish->hosts_named) return {};
  const auto text = ReadFile(run.wish->hostfile);
  if (!text.ok()) {
    return Status(Code::kInvalid, text.status().message()).While("reading the hostfile");
  }
  auto hosts = ParseHostfile(*text);
  if (!hosts.ok()) {
    return std::move(hosts).status().While("hostfile " + run.wish->hostfile);
  }
  run.wish->hosts = *std::move(hosts);
  run.wish->hosts_named = true;
  return {};
}

Status Settle(RunCommand& run, const std::vector<ClusterNode>& nodes) {
  if (!run.wish) return {};
  const auto shape = ShapeOf(*run.wish, nodes);
  if (!shape.ok()) return shape.status();
  run.job.nodes = shape->nodes;
  run.job.ranks_per_node = shape->ranks_per_node;
  return {};
}

Result<std::uint32_t> PrivateSlots(const RunCommand& run) {
  if (run.slots != 0) return run.slots;
  if (run.fill == SlotFill::kNone) return std::max(run.job.ranks_per_node, 1U);
  const std::uint32_t gpus = run.fill == SlotFill::kCpus ? 0 : HostGpus();
  if (gpus > 0) return gpus;
  if (run.fill != SlotFill::kGpus) return HostCpus();
  return Status(Code::kInvalid, "this host has no GPU (no /dev/nvidia0): say how many ranks");
}

}  // namespace muster
