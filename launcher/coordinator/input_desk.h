// Who has input for rank 0 of which job, and which node was asked to pull it.
//
// Only the first attempt takes input, once: whoever gave some cannot give it again.  The bytes do
// not pass here.  Pure; owned by the front.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "launcher/coordinator/audience.h"

namespace muster {

struct AskForInput {
  NodeName node;
  InputWant want;
};

class InputDesk {
 public:
  bool empty() const { return givers_.empty(); }

  void Offer(const State& state, std::uint64_t id, JobId job, std::shared_ptr<InputGiver> giver);
  void Close(std::uint64_t id) { givers_.erase(id); }
  // The agent has what rank 0 reads from.
  void Attached(std::uint64_t id);

  // Call when the state changed, or an agent came: whom to ask now.  Ends those whose rank 0 takes
  // no input any more.
  std::vector<AskForInput> Tend(const State& state,
                                const std::function<bool(const NodeName&)>& connected);

  // Its agent's session ended, and what it carried with it; whoever was not attached is asked for
  // again.
  void NodeGone(const NodeName& node);
  void EndAll(const Status& status);

 private:
  struct Entry {
    JobId job = 0;
    NodeName asked;  // Empty: nobody yet.
    bool attached = false;
    std::shared_ptr<InputGiver> giver;
  };
  std::map<std::uint64_t, Entry> givers_;
};

}  // namespace muster
