#include "launcher/cli/events.h"

#include <nlohmann/json.hpp>

#include "launcher/cli/render.h"

namespace muster {
namespace {

using Json = nlohmann::ordered_json;

// In the order of Mark; as JSON says them, and as people read them.
struct MarkName {
  const char* word;
  const char* text;
};
MarkName NameOf(Mark mark) {
  switch (mark) {
    case Mark::kFailureSeen:
      return {"failure_seen", "saw the failure"};
    case Mark::kAllGone:
      return {"all_gone", "every rank is gone"};
    case Mark::kRanksForked:
      return {"ranks_forked", "the ranks are forked"};
    case Mark::kMpiUp:
      return {"mpi_up", "MPI is up"};
    case Mark::kStateRestored:
      return {"state_restored", "the state is there"};
    case Mark::kFirstStep:
      return {"first_step", "the first new step is done"};
  }
  return {"unknown", "something this version does not know"};
}

Json ToJsonValue(const JobView& job) {
  return {{"job", Json::parse(JobJson(job))}};
}

Json ToJsonValue(const ProgressView& progress) {
  return {{"progress",
           {{"attempt", progress.attempt},
            {"step", progress.step},
            {"loss", progress.loss},
            {"tokens", progress.tokens},
            {"comm_us", progress.comm_us},
            {"committed_step", progress.committed_step}}}};
}

Json ToJsonValue(const StoryLine& line) {
  Json story = {{"attempt", line.attempt}, {"node", line.node}, {"wall_us", line.wall_us}};
  if (line.mark) {
    story["mark"] = NameOf(line.mark->mark).word;
    story["at_us"] = line.mark->at_us;
  } else {
    story["text"] = line.text;
  }
  return {{"story", story}};
}

}  // namespace

std::string EventLine(const WatchNews& news) {
  const auto* line = std::get_if<StoryLine>(&news);
  if (line == nullptr) return "";
  std::string who = "attempt " + std::to_string(line->attempt);
  if (!line->node.empty()) who += ", " + line->node;
  return who + ": " + (line->mark ? NameOf(line->mark->mark).text : line->text) + "\n";
}

std::string EventJson(const WatchNews& news) {
  const Json json = std::visit([](const auto& n) { return ToJsonValue(n); }, news);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace muster
