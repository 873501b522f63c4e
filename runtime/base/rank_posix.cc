#include "runtime/base/rank_posix.h"

#include "runtime/base/env_posix.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

// Reads numbers, and keeps the first complaint.
class Reader {
 public:
  explicit Reader(const EnvLookup& env) : env_(env) {}

  std::int32_t Number(const std::string& name, std::int64_t low, std::int64_t high) {
    const auto text = env_(name);
    const auto value = text ? ParseSigned(*text) : std::nullopt;
    if (value && *value >= low && *value <= high) return static_cast<std::int32_t>(*value);
    if (complaint_.ok()) {
      complaint_ = Status(Code::kInvalid, name + " is " + (text ? "\"" + *text + "\"" : "missing") +
                                              "; the launcher must set it to a number from " +
                                              std::to_string(low) + " to " + std::to_string(high));
    }
    return static_cast<std::int32_t>(low);
  }
  std::string Text(const std::string& name) { return env_(name).value_or(""); }
  bool Has(const std::string& name) { return env_(name).has_value(); }
  const Status& complaint() const { return complaint_; }

 private:
  const EnvLookup& env_;
  Status complaint_;
};

constexpr std::int32_t kMost = 1 << 24;

}  // namespace

Result<RankInfo> ReadRankInfo(const EnvLookup& env) {
  Reader read(env);
  RankInfo info;
  if (read.Has("MUSTER_RANK")) {
    info.launcher = Launcher::kMuster;
    info.world_size = read.Number("MUSTER_WORLD_SIZE", 1, kMost);
    info.rank = read.Number("MUSTER_RANK", 0, info.world_size - 1);
    info.local_world_size = read.Number("MUSTER_LOCAL_WORLD_SIZE", 1, info.world_size);
    info.local_rank = read.Number("MUSTER_LOCAL_RANK", 0, info.local_world_size - 1);
    info.num_nodes = read.Number("MUSTER_NUM_NODES", 1, info.world_size);
    info.node_rank = read.Number("MUSTER_NODE_RANK", 0, info.num_nodes - 1);
    info.attempt = static_cast<std::uint32_t>(read.Number("MUSTER_ATTEMPT", 0, kMost));
    info.job_id = read.Text("MUSTER_JOB_ID");
    info.run_id = read.Text("MUSTER_RUN_ID");
    if (read.Has("MUSTER_LINK_FD")) info.link_fd = read.Number("MUSTER_LINK_FD", 0, kMost);
    info.link_token = read.Text("MUSTER_LINK_TOKEN");
  } else if (read.Has("OMPI_COMM_WORLD_RANK")) {
    info.launcher = Launcher::kMpirun;
    info.world_size = read.Number("OMPI_COMM_WORLD_SIZE", 1, kMost);
    info.rank = read.Number("OMPI_COMM_WORLD_RANK", 0, info.world_size - 1);
    info.local_world_size = read.Number("OMPI_COMM_WORLD_LOCAL_SIZE", 1, info.world_size);
    info.local_rank = read.Number("OMPI_COMM_WORLD_LOCAL_RANK", 0, info.local_world_size - 1);
    info.num_nodes = 0;
  }
  if (!read.complaint().ok()) return read.complaint();
  return info;
}

Result<RankInfo> WhoAmI() {
  return ReadRankInfo([](const std::string& name) { return GetEnv(name); });
}

}  // namespace muster
