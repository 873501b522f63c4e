#include "launcher/coordinator/exec_desk.h"

#include <utility>

namespace muster {

void ExecDesk::Open(std::uint64_t id, const NodeName& node, std::shared_ptr<ExecCaller> caller) {
  callers_[id] = {.node = node, .caller = std::move(caller)};
}

void ExecDesk::NodeGone(const NodeName& node) {
  std::erase_if(callers_, [&](const auto& item) {
    if (item.second.node != node) return false;
    item.second.caller->End(Status(
        Code::kAborted, "the agent of node " + node + " went away, and the program with it"));
    return true;
  });
}

void ExecDesk::EndAll(const Status& status) {
  for (const auto& [id, entry] : callers_) entry.caller->End(status);
  callers_.clear();
}

}  // namespace muster
