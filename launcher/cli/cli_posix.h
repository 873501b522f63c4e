// The command line's verbs, carried out.
//
// Each returns the exit status (exit_status.h), and has printed what there is to print: results to
// stdout, everything else to stderr.  Called once, from main's thread, before any other is started.
#pragma once

#include "launcher/cli/command_line.h"

namespace muster {

// A verb that asks or tells a cluster, or manages one of this host.  Not coordinator and agent:
// main.cc has those.
int CarryOut(const Command& command);

int CarryOutRun(const RunCommand& run);
int CarryOutUp(const UpCommand& up);
int CarryOutDown(const DownCommand& down);
int CarryOutInit(const InitCommand& init);
int CarryOutCkpt(const CkptCommand& ckpt);
int CarryOutDoctor(const DoctorCommand& doctor);
int CarryOutKeeper(const KeeperCommand& keeper);

}  // namespace muster
