#include "launcher/jobd/jobd_main_event.h"

#include <event2/event.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <memory>

#include "launcher/jobd/daemon_event.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

struct FreeBase {
  void operator()(event_base* base) const { event_base_free(base); }
};

// Apart from the agent: its session, its process group, its end.
void Detach() {
  if (setsid() < 0) setpgid(0, 0);
  signal(SIGHUP, SIG_IGN);
  signal(SIGPIPE, SIG_IGN);
  // What a rank leaves behind becomes our child, wherever it hides.
  prctl(PR_SET_CHILD_SUBREAPER, 1);
}

}  // namespace

int JobdMain(const std::vector<std::string>& words) {
  const JobdArguments arguments = FromWords(words);
  SetLogProcess("jobd " + arguments.node);
  if (arguments.socket.empty()) {
    Log(LogLevel::kError, "only agents start this: there is no --socket");
    return 2;
  }
  Detach();
  SetEnv("MUSTER_JOB_COOKIE", arguments.cookie);
  const std::unique_ptr<event_base, FreeBase> base(event_base_new());
  CHECK(base != nullptr);
  {
    Daemon daemon(base.get(), arguments);
    if (Status begun = daemon.Begin(); !begun.ok()) {
      Log(LogLevel::kError, begun.message());
      daemon.SweepTraces();
      return 1;
    }
    event_base_dispatch(base.get());
    daemon.SweepTraces();
  }
  return 0;
}

}  // namespace muster
