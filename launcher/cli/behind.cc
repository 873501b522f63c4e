#include "launcher/cli/behind.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/base/text.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

// A rank that is in a group, and the group's number in its recording.
struct Member {
  const RankTrace* trace = nullptr;
  std::uint16_t group = 0;
  std::int32_t rank() const { return trace->recording.rank; }
};
using Members = std::vector<Member>;

// What one rank did last of a group's collectives; 0: none that is still in its ring.
struct GroupProgress {
  std::int32_t rank = 0;
  std::uint64_t started = 0, completed = 0;
};

Members MembersOf(const std::vector<RankTrace>& traces, const std::string& name) {
  Members members;
  for (const RankTrace& trace : traces) {
    const auto& groups = trace.recording.groups;
    const auto found = std::find(groups.begin(), groups.end(), name);
    if (found == groups.end()) continue;
    members.push_back({&trace, static_cast<std::uint16_t>(found - groups.begin())});
  }
  return members;
}

std::vector<std::string> GroupsOf(const std::vector<RankTrace>& traces) {
  std::vector<std::string> names;
  for (const RankTrace& trace : traces) {
    for (const std::string& name : trace.recording.groups) {
      if (std::find(names.begin(), names.end(), name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

bool IsCollectiveOf(const RecordedEntry& entry, std::uint16_t group) {
  return entry.group == group && !IsSpan(entry.op) && !IsTransfer(entry.op);
}

const RecordedEntry* Find(const Member& member, std::uint64_t seq) {
  const auto& entries = member.trace->recording.entries;
  const auto found = std::find_if(entries.begin(), entries.end(), [&](const RecordedEntry& e) {
    return IsCollectiveOf(e, member.group) && e.seq == seq;
  });
  return found == entries.end() ? nullptr : &*found;
}

// By rank; empty when no rank called any.
std::vector<GroupProgress> ProgressOf(const Members& members) {
  std::vector<GroupProgress> all;
  bool any = false;
  for (const Member& member : members) {
    GroupProgress one{.rank = member.rank()};
    for (const RecordedEntry& entry : member.trace->recording.entries) {
      if (!IsCollectiveOf(entry, member.group)) continue;
      any = true;
      one.started = std::max(one.started, entry.seq);
      if (entry.state == RecordedState::kCompleted) {
        one.completed = std::max(one.completed, entry.seq);
      }
    }
    all.push_back(one);
  }
  return any ? all : std::vector<GroupProgress>();
}

// "all_reduce #128 of training", as whoever called it says.
std::string CallName(const Members& members, const std::string& name, std::uint64_t seq) {
  std::string op = "collective";
  for (const Member& member : members) {
    const RecordedEntry* entry = Find(member, seq);
    if (entry != nullptr) op = NameOf(*entry);
  }
  return op + " #" + std::to_string(seq) + " of " + name;
}

std::string RanksName(const std::vector<std::int32_t>& ranks) {
  constexpr std::size_t kMost = 8;
  std::vector<std::string> names;
  for (std::size_t i = 0; i < std::min(ranks.size(), kMost); ++i) {
    names.push_back(std::to_string(ranks[i]));
  }
  const std::string more =
      ranks.size() > kMost ? " and " + std::to_string(ranks.size() - kMost) + " more" : "";
  return (ranks.size() == 1 ? "rank " : "ranks ") + Join(names, ", ") + more;
}

const Recording& Of(const std::vector<RankTrace>& traces, std::int32_t rank) {
  return std::find_if(traces.begin(), traces.end(),
                      [&](const RankTrace& trace) { return trace.recording.rank == rank; })
      ->recording;
}

template <typename Less>
std::vector<std::int32_t> RanksWhere(const std::vector<GroupProgress>& all, Less less) {
  std::vector<std::int32_t> ranks;
  for (const GroupProgress& one : all) {
    if (less(one)) ranks.push_back(one.rank);
  }
  return ranks;
}

// The ranks that called something else than most, where all called.
std::string Disagreement(const Members& members, const std::string& name, std::uint64_t seq) {
  std::map<std::string, std::vector<std::int32_t>> callers;
  for (const Member& member : members) {
    const RecordedEntry* entry = Find(member, seq);
    if (entry == nullptr) return "";
    callers[NameOf(*entry) + " " + RecordedTypeName(entry->dtype) + "[" +
            std::to_string(entry->count) + "]"]
        .push_back(member.rank());
  }
  if (callers.size() < 2) return "";
  std::vector<std::string> parts;
  for (const auto& [call, ranks] : callers) parts.push_back(RanksName(ranks) + ": " + call);
  return "the ranks disagree on call #" + std::to_string(seq) + " of " + name + ": " +
         Join(parts, "; ");
}

// Empty: this group does not tell.
std::string SentenceOf(const std::vector<RankTrace>& traces, const std::string& name) {
  const Members members = MembersOf(traces, name);
  const std::vector<GroupProgress> all = ProgressOf(members);
  if (all.size() < 2) return "";
  const auto by_start = [](const auto& a, const auto& b) { return a.started < b.started; };
  const auto [last, first] = std::minmax_element(all.begin(), all.end(), by_start);
  const std::uint64_t low = last->started, high = first->started;
  if (std::string text = Disagreement(members, name, low); !text.empty()) return text;
  if (low < high) {
    const auto behind = RanksWhere(all, [&](const auto& one) { return one.started == low; });
    return RanksName(behind) + " never entered " + CallName(members, name, low + 1) + "; " +
           (behind.size() == 1 ? "it was" : RanksName({behind[0]}) + " was") + " last in " +
           LastOf(Of(traces, behind[0]));
  }
  const auto inside = RanksWhere(all, [&](const auto& one) { return one.completed < high; });
  if (inside.empty()) return "";
  const std::string call = CallName(members, name, high);
  if (inside.size() == all.size()) return "every rank entered " + call + ", and none has left it";
  return RanksName(inside) + " entered " + call + " and never left it, the others did";
}

}  // namespace

std::string LastOf(const Recording& recording) {
  if (recording.entries.empty()) return "nothing that it recorded";
  const RecordedEntry& entry = recording.entries.back();
  const std::string what = IsSpan(entry.op)
                               ? NameOf(entry) + " of step " + std::to_string(entry.seq)
                               : NameOf(entry) + " #" + std::to_string(entry.seq) + " of " +
                                     GroupName(recording, entry.group);
  if (entry.state == RecordedState::kCompleted) return what;
  return what + (entry.state == RecordedState::kFailed ? " (failed)" : " (not ended)");
}

std::string BehindSentence(const std::vector<RankTrace>& traces) {
  for (const std::string& group : GroupsOf(traces)) {
    std::string text = SentenceOf(traces, group);
    if (!text.empty()) return text;
  }
  return "no rank is behind: all completed the same collectives";
}

std::string LastPage(const std::vector<RankTrace>& traces) {
  std::string page;
  for (const std::string& group : GroupsOf(traces)) {
    const auto all = ProgressOf(MembersOf(traces, group));
    if (all.empty()) continue;
    page += "GROUP " + group + "\n";
    page += "RANK   STARTED  COMPLETED  LAST IN\n";
    for (const GroupProgress& one : all) {
      const auto cell = [](const std::string& text, std::size_t width) {
        return text + std::string(text.size() < width ? width - text.size() : 1, ' ');
      };
      page += cell(std::to_string(one.rank), 7) + cell("#" + std::to_string(one.started), 9) +
              cell("#" + std::to_string(one.completed), 11) + LastOf(Of(traces, one.rank)) + "\n";
    }
  }
  return page + BehindSentence(traces) + "\n";
}

std::string LastJson(const std::vector<RankTrace>& traces) {
  Json groups = Json::array();
  for (const std::string& group : GroupsOf(traces)) {
    Json ranks = Json::array();
    for (const GroupProgress& one : ProgressOf(MembersOf(traces, group))) {
      ranks.push_back({{"rank", one.rank},
                       {"started", one.started},
                       {"completed", one.completed},
                       {"last", LastOf(Of(traces, one.rank))}});
    }
    if (ranks.empty()) continue;
    groups.push_back({{"group", group}, {"ranks", ranks}});
  }
  return Json({{"groups", groups}, {"sentence", BehindSentence(traces)}})
             .dump(-1, ' ', false, Json::error_handler_t::replace) +
         "\n";
}

}  // namespace muster
