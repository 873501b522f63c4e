// The format of PyTorch's flight recorder (version 2), as its analyzer expects it.
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "launcher/cli/trace.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

// Its names for ours.
std::string ProfilingName(const RecordedEntry& entry, std::int32_t rank) {
  const std::string me = std::to_string(rank), peer = std::to_string(entry.root);
  switch (entry.op) {
    case RecordedOp::kBarrier:
      return "nccl:all_reduce_barrier";
    case RecordedOp::kSplit:
      return "nccl:all_gather";
    case RecordedOp::kSend:
      return "nccl:send " + me + "->" + peer;
    case RecordedOp::kRecv:
      return "nccl:recv " + me + "<-" + peer;
    default:
      return "nccl:" + NameOf(entry.op);
  }
}

std::string TypeName(std::uint8_t dtype) {
  static constexpr std::array<const char*, 7> kNames = {"Float", "Double", "Half", "BFloat16",
                                                        "Int",   "Long",   "Byte"};
  return dtype < kNames.size() ? kNames[dtype] : "Undefined";
}

// A call's count is that of the smaller side; the other has one such part for each rank.
Json InputSizes(const RecordedEntry& entry, std::uint64_t ranks) {
  const bool parts = entry.op == RecordedOp::kReduceScatter || entry.op == RecordedOp::kAllToAll ||
                     entry.op == RecordedOp::kScatter;
  return Json::array({Json::array({entry.count * (parts ? ranks : 1)})});
}

Json OutputSizes(const RecordedEntry& entry, std::uint64_t ranks) {
  const bool parts = entry.op == RecordedOp::kAllGather || entry.op == RecordedOp::kAllToAll ||
                     entry.op == RecordedOp::kGather;
  return Json::array({Json::array({entry.count * (parts ? ranks : 1)})});
}

Json Time(const Recording& recording, std::int64_t ns) {
  return ns == 0 ? Json() : Json(recording.WallOf(ns));
}

// The first groups are of every rank, those that were split off of the ranks that recorded them.
std::vector<std::int32_t> RanksOf(const std::string& group, const Recording& recording,
                                  const std::vector<RankTrace>& all) {
  std::vector<std::int32_t> ranks;
  if (group.find('/') == std::string::npos) {
    for (std::int32_t rank = 0; rank < recording.world_size; ++rank) ranks.push_back(rank);
    return ranks;
  }
  for (const RankTrace& other : all) {
    const auto& groups = other.recording.groups;
    const bool member = std::find(groups.begin(), groups.end(), group) != groups.end();
    if (member) ranks.push_back(other.recording.rank);
  }
  return ranks;
}

Json EntryOf(const Recording& recording, const RecordedEntry& entry, std::uint64_t ranks) {
  const bool transfer = IsTransfer(entry.op);
  const bool ended = entry.completed_ns != 0;
  Json json = {{"frames", Json::array()},
               {"record_id", entry.record - 1},
               {"pg_id", entry.group},
               {"process_group",
                Json::array({std::to_string(entry.group), GroupName(recording, entry.group)})},
               {"collective_seq_id", transfer ? 0 : entry.seq},
               {"p2p_seq_id", transfer ? entry.seq : 0},
               {"op_id", entry.seq},
               {"profiling_name", ProfilingName(entry, recording.rank)},
               {"time_created_ns", Time(recording, entry.created_ns)},
               {"input_sizes", InputSizes(entry, ranks)},
               {"input_dtypes", Json::array({TypeName(entry.dtype)})},
               {"output_sizes", OutputSizes(entry, ranks)},
               {"output_dtypes", Json::array({TypeName(entry.dtype)})},
               // It knows no failure: what failed was not completed.
               {"state", entry.state == RecordedState::kFailed ? "started" : NameOf(entry.state)},
               {"time_discovered_started_ns", Time(recording, entry.started_ns)},
               {"time_discovered_completed_ns", Time(recording, entry.completed_ns)},
               {"retired", ended},
               {"timeout_ms", 600000},
               {"is_p2p", transfer}};
  if (ended) json["duration_ms"] = static_cast<double>(entry.completed_ns - entry.started_ns) / 1e6;
  return json;
}

}  // namespace

std::string FlightTrace(const RankTrace& trace, const std::vector<RankTrace>& all) {
  const Recording& recording = trace.recording;
  Json entries = Json::array(), config = Json::object(), status = Json::object();
  std::vector<std::uint64_t> sizes;
  for (std::size_t group = 0; group < recording.groups.size(); ++group) {
    const std::vector<std::int32_t> ranks = RanksOf(recording.groups[group], recording, all);
    std::vector<std::string> names;
    for (const std::int32_t rank : ranks) names.push_back(std::to_string(rank));
    const std::string name = std::to_string(group);
    config[name] = {{"name", name},
                    {"desc", recording.groups[group]},
                    {"ranks", "[" + Join(names, ", ") + "]"}};
    sizes.push_back(ranks.size());
  }
  for (const RecordedEntry& entry : recording.entries) {
    if (IsSpan(entry.op)) continue;
    const bool known = entry.group < sizes.size();
    entries.push_back(EntryOf(recording, entry, known ? sizes[entry.group] : 1));
    if (IsTransfer(entry.op)) continue;
    Json& of_group = status[std::to_string(entry.group)];
    of_group["last_enqueued_collective"] = entry.seq;
    if (entry.started_ns != 0) of_group["last_started_collective"] = entry.seq;
    if (entry.state == RecordedState::kCompleted) of_group["last_completed_collective"] = entry.seq;
  }
  const Json whole = {{"version", "2.10"},   {"rank", recording.rank}, {"host_name", trace.node},
                      {"pg_config", config}, {"pg_status", status},    {"entries", entries}};
  return whole.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace muster
