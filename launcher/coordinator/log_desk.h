// Which nodes are asked for which log files, until every reader of logs has what it asked for.
//
// The bytes do not pass here: they go from the agent's stream straight to the reader's (the rim).
// A want that breaks off, because an agent died or the network did, is asked again when the node
// registers; with the reader's own offsets, so no byte comes twice.  Pure; owned by the front.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "launcher/coordinator/audience.h"

namespace muster {

// What a reader asked for.  Neither `attempt` nor all: the newest, and with follow those after it.
struct LogsAsked {
  JobId job = 0;
  std::optional<AttemptNumber> attempt;
  bool all_attempts = false;
  std::vector<std::uint32_t> ranks;  // Empty: all.
  std::vector<NodeName> nodes;       // Empty: all.
  bool follow = false;
  LogSelection selection;
};

struct AskNode {
  NodeName node;
  LogWant want;
};
struct TellEnough {
  NodeName node;
  std::uint64_t want = 0;
};
using LogAction = std::variant<AskNode, TellEnough>;

class LogDesk {
 public:
  // The state is that of the whole cluster, the job is in it.
  std::vector<LogAction> Open(const State& state, ListenerId id, LogsAsked asked,
                              std::shared_ptr<LogReader> reader);
  // The reader is gone.
  std::vector<LogAction> Close(ListenerId id);
  // Something about jobs or nodes changed.
  std::vector<LogAction> Changed(const State& state);
  // The node registered: what it was asked before is forgotten there.
  std::vector<LogAction> NodeBack(const State& state, const NodeName& node);
  // Its agent has sent all (ok), or the stream broke.
  std::vector<LogAction> Pushed(const State& state, std::uint64_t want, bool ok);
  void EndAll(const Status& status);
  bool empty() const { return readers_.empty(); }

 private:
  struct Want {
    NodeName node;
    LogWant want;
    int breaks = 0;
    bool enough = false;  // Its follow was ended.
  };
  struct Reader {
    LogsAsked asked;
    std::shared_ptr<LogReader> reader;
    std::map<std::uint64_t, Want> wants;  // Open ones.
    AttemptNumber next_attempt = 0;       // Attempts below were asked for.
    bool all_asked = false;
    std::string missing;  // The first node that could not answer.
  };

  // One attempt after the other, so that a rank's lines come in order.  False when there is nothing
  // to ask for now.
  bool AskOn(const State& state, const Job& job, Reader& reader, std::vector<LogAction>* out);
  // Ends the follow of those that are over, and gives up those of lost nodes.
  void EndWants(const State& state, const Job& job, Reader& reader, std::vector<LogAction>* out);
  void AskNewAttempt(const Job& job, Reader& reader, std::vector<LogAction>* out);
  void AskOldAttempts(const State& state, AttemptNumber first, AttemptNumber end, Reader& reader,
                      std::vector<LogAction>* out);
  void Ask(Want want, Reader& reader, std::vector<LogAction>* out);
  // Ends what can end; returns whether the reader has everything.
  bool Settle(const State& state, Reader& reader, std::vector<LogAction>* out);

  std::map<ListenerId, Reader> readers_;
  std::uint64_t next_want_ = 1;
};

}  // namespace muster
