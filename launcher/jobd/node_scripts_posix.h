// The prolog and the epilog of a job's node: one shell at a time, in jobd's own group, so that what
// a prolog starts may live until the job ends.
//
// What they print goes to logs/JOB/ATTEMPT/RANK.prolog (RANK: the node's first), RANK.epilog.  The
// loop's thread only.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "runtime/base/orders.h"
#include "runtime/base/statuses.h"

namespace muster {

struct NodeScript {
  std::string name;  // "prolog" or "epilog".
  std::string text;  // For /bin/sh -c; empty: there is none.
  std::vector<std::string> environment;
  Program program;  // Whose workdir, umask and limits it has.
  std::string log;
};

// `logs`: ClusterPaths::Logs().
NodeScript ScriptOf(const StartAttempt& order, const std::string& name, const std::string& text,
                    const std::string& logs);

class NodeScripts {
 public:
  explicit NodeScripts(NodeName node) : node_(std::move(node)) {}
  ~NodeScripts() { Kill(); }
  NodeScripts(const NodeScripts&) = delete;
  NodeScripts& operator=(const NodeScripts&) = delete;

  // None may be running.  A cause: it could not be started.
  Cause Start(NodeScript script);
  struct End {
    std::string name;
    Cause cause;  // kNone: it left with 0.
  };
  // A child ended; nothing when it was no script.
  std::optional<End> Reaped(pid_t pid, int wait_status);
  void Kill();

  bool running() const { return pid_ > 0; }
  pid_t pid() const { return pid_; }

 private:
  const NodeName node_;
  NodeScript script_;
  pid_t pid_ = 0;
};

}  // namespace muster
