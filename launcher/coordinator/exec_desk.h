// Who runs a program beside a rank, and on which node: so that nobody waits for a node that is
// gone.  What the program says does not pass here.  Pure; owned by the front.
#pragma once

#include <map>
#include <memory>

#include "launcher/coordinator/audience.h"

namespace muster {

class ExecDesk {
 public:
  void Open(std::uint64_t id, const NodeName& node, std::shared_ptr<ExecCaller> caller);
  void Close(std::uint64_t id) { callers_.erase(id); }
  // Its agent's session ended: so did what it ran.
  void NodeGone(const NodeName& node);
  void EndAll(const Status& status);

 private:
  struct Entry {
    NodeName node;
    std::shared_ptr<ExecCaller> caller;
  };
  std::map<std::uint64_t, Entry> callers_;
};

}  // namespace muster
