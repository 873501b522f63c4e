#include "launcher/cli/trace.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "launcher/cli/verdict.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kLanesPerRank = 1000;

double Microseconds(std::int64_t ns) {
  return static_cast<double>(ns) / 1000;
}

bool Unfinished(const RecordedEntry& entry) {
  return entry.completed_ns == 0;
}

std::int64_t BeginOf(const RecordedEntry& entry) {
  return entry.started_ns != 0 ? entry.started_ns : entry.created_ns;
}

const char* CategoryOf(const RecordedEntry& entry) {
  if (!IsSpan(entry.op)) return "communication";
  return entry.op == RecordedOp::kCheckpoint ? "checkpoint" : "compute";
}

// On which of the rank's threads an event is drawn: in each, events lie apart or inside each other.
class Lanes {
 public:
  int Place(std::int64_t begin, std::int64_t end) {
    for (std::size_t lane = 0;; ++lane) {
      if (lane == open_.size()) open_.emplace_back();
      std::vector<std::int64_t>& ends = open_[lane];
      while (!ends.empty() && ends.back() <= begin) ends.pop_back();
      if (!ends.empty() && ends.back() < end) continue;
      ends.push_back(end);
      return static_cast<int>(lane);
    }
  }
  std::size_t count() const { return open_.size(); }

 private:
  std::vector<std::vector<std::int64_t>> open_;
};

struct Axis {
  std::int64_t begin = std::numeric_limits<std::int64_t>::max();
  std::int64_t end = std::numeric_limits<std::int64_t>::min();
};

Axis AxisOf(const std::vector<RankTrace>& traces) {
  Axis axis;
  for (const RankTrace& trace : traces) {
    for (const RecordedEntry& entry : trace.recording.entries) {
      const auto last = std::max(BeginOf(entry), entry.completed_ns);
      axis.begin = std::min(axis.begin, trace.recording.WallOf(BeginOf(entry)));
      axis.end = std::max(axis.end, trace.recording.WallOf(last));
    }
  }
  return axis;
}

Json ArgumentsOf(const RankTrace& trace, const RecordedEntry& entry, std::int64_t duration_ns) {
  Json arguments;
  if (IsSpan(entry.op)) {
    arguments["step"] = entry.seq;
  } else {
    arguments["op"] = NameOf(entry);
    arguments["seq"] = entry.seq;
    arguments["group"] = GroupName(trace.recording, entry.group);
    arguments["bytes"] = BytesOf(entry);
    arguments["dtype"] = RecordedTypeName(entry.dtype);
    if (entry.root >= 0) arguments[IsTransfer(entry.op) ? "peer" : "root"] = entry.root;
    const bool whole = entry.state == RecordedState::kCompleted && duration_ns > 0;
    if (whole && BytesOf(entry) > 0) {
      arguments["algbw_GBps"] =
          static_cast<double>(BytesOf(entry)) / static_cast<double>(duration_ns);
    }
  }
  if (entry.state != RecordedState::kCompleted) {
    arguments["state"] = std::string(NameOf(entry.state)) +
                         (Unfinished(entry) ? ", not completed when this was recorded" : "");
  }
  return arguments;
}

// A line of the array "traceEvents".
void Add(const Json& event, std::string* out) {
  *out +=
      (out->empty() ? "\n" : ",\n") + event.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void Name(const char* what, int pid, std::int64_t tid, const std::string& name, std::string* out) {
  Add({{"name", what}, {"ph", "M"}, {"pid", pid}, {"tid", tid}, {"args", {{"name", name}}}}, out);
}

void AddRank(const RankTrace& trace, int pid, const Axis& axis, std::string* out) {
  struct Event {
    std::int64_t begin = 0, end = 0;
    const RecordedEntry* entry = nullptr;
  };
  std::vector<Event> events;
  for (const RecordedEntry& entry : trace.recording.entries) {
    const std::int64_t begin = trace.recording.WallOf(BeginOf(entry));
    const std::int64_t end =
        Unfinished(entry) ? axis.end : trace.recording.WallOf(entry.completed_ns);
    events.push_back({begin, std::max(begin, end), &entry});
  }
  std::stable_sort(events.begin(), events.end(), [](const Event& a, const Event& b) {
    return a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
  });
  Lanes lanes;
  const std::int64_t rank = trace.recording.rank;
  for (const Event& event : events) {
    const int lane = lanes.Place(event.begin, event.end);
    Add({{"name", NameOf(*event.entry)},
         {"cat", CategoryOf(*event.entry)},
         {"ph", "X"},
         {"ts", Microseconds(event.begin - axis.begin)},
         {"dur", Microseconds(event.end - event.begin)},
         {"pid", pid},
         {"tid", rank * kLanesPerRank + lane},
         {"args", ArgumentsOf(trace, *event.entry, event.end - event.begin)}},
        out);
  }
  for (std::size_t lane = 0; lane < std::max<std::size_t>(lanes.count(), 1); ++lane) {
    const auto tid = rank * kLanesPerRank + static_cast<std::int64_t>(lane);
    Name("thread_name", pid, tid,
         "rank " + std::to_string(rank) + (lane == 0 ? "" : ", at the same time"), out);
  }
}

}  // namespace

std::uint64_t BytesOf(const RecordedEntry& entry) {
  return entry.count * RecordedTypeSize(entry.dtype);
}

std::string GroupName(const Recording& recording, std::uint16_t group) {
  return group < recording.groups.size() ? recording.groups[group] : std::to_string(group);
}

void TraceFiles::Take(const LogPiece& piece) {
  File& file = files_[piece.rank];
  if (file.bytes.empty()) file.node = piece.node;
  file.attempt = piece.attempt;
  if (piece.offset == file.bytes.size()) file.bytes += piece.data;
}

std::vector<RankTrace> TraceFiles::Read(std::string* note) const {
  std::vector<RankTrace> traces;
  for (const auto& [rank, file] : files_) {
    // As aligned as it was in memory.
    std::vector<std::byte> bytes(file.bytes.size());
    std::transform(file.bytes.begin(), file.bytes.end(), bytes.begin(),
                   [](char c) { return static_cast<std::byte>(c); });
    Result<Recording> recording = ReadRecording(bytes);
    const bool other = recording.ok() && recording->attempt != file.attempt;
    if (!recording.ok() || other) {
      *note += "rank " + std::to_string(rank) + " is left out: " +
               (other ? "it recorded nothing in attempt " + std::to_string(file.attempt)
                      : recording.status().message()) +
               "\n";
      continue;
    }
    recording->rank = static_cast<std::int32_t>(rank);
    traces.push_back({.node = file.node, .recording = *std::move(recording)});
  }
  return traces;
}

std::string ChromeTrace(const std::vector<RankTrace>& traces, JobId job) {
  const Axis axis = AxisOf(traces);
  std::map<NodeName, int> pids;
  std::string events;
  for (const RankTrace& trace : traces) {
    const auto [node, is_new] = pids.emplace(trace.node, static_cast<int>(pids.size()) + 1);
    if (is_new) Name("process_name", node->second, 0, "node " + trace.node, &events);
    AddRank(trace, node->second, axis, &events);
  }
  Json about = {{"job", job}};
  if (!traces.empty()) about["attempt"] = traces[0].recording.attempt;
  if (axis.begin <= axis.end) about["begins"] = Iso(axis.begin / 1000);
  return "{\"displayTimeUnit\": \"ms\", \"otherData\": " + about.dump() + ", \"traceEvents\": [" +
         events + "\n]}\n";
}

}  // namespace muster
