// Containment: finding and killing everything that a job started on this node, whatever it did to
// get away (D14).
//
// Three means, the best first; each works as any user on what is that user's own:
//   1. a group: a cgroup2 folder (any mount, also the hybrid one without controllers), else a
//      folder of the v1 freezer.  Nothing leaves it;
//   2. descent: what descends from a process; complete where that process is a subreaper;
//   3. a cookie: a variable of the environment, which a process inherits and rarely overwrites.
// The agent makes the group and starts the jobd in it; the jobd makes a group of its own below it
// for the ranks.  Nothing here waits: callers kill in rounds until a round finds nobody.
//
// Any thread.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/result.h"

namespace muster {

// ---- groups -------------------------------------------------------------------------------------

// Makes a group `name` (begin it with "muster-": ./dev clean looks for that) where this process
// may, and gives it to uid and gid.  Empty: this machine lets us make none.
std::string MakeGroup(const std::string& name, std::uint32_t uid, std::uint32_t gid);

// The groups that MakeGroup() made here under a name that begins so.
std::vector<std::string> GroupsNamed(const std::string& prefix);

// A group below `group`, made by its owner.
Status MakeSubgroup(const std::string& group, const std::string& name);

// Moves a process, with all its threads, into the group; pid 0 is the caller.  What it forks from
// then on is born there.
Status EnterGroup(const std::string& group, pid_t pid);

// Whether a process may be born in it (clone3 with CLONE_INTO_CGROUP): true for cgroup2.
bool BirthGroup(const std::string& group);

// Sends SIGKILL to everyone in the group and below.  One that is not there is empty.
void KillGroup(const std::string& group);

// Whether anyone is alive in the group or below.
bool GroupPopulated(const std::string& group);

// Removes the group and those below it; fails while anyone is in it but stuck movers.
Status RemoveGroup(const std::string& group);

// ---- descent and cookies ------------------------------------------------------------------------

// Every living process that descends from `root`, without itself.
std::vector<pid_t> Descendants(pid_t root);

// Every living process of the user whose environment has the entry "NAME=value".
std::vector<pid_t> CarriersOf(const std::string& entry, std::uint32_t uid);

// ---- all means together -------------------------------------------------------------------------

struct Containment {
  std::string group;      // Empty: none.
  std::string entry;      // Such as "MUSTER_JOB_COOKIE=3f2a...-n0-7".
  std::uint32_t uid = 0;  // Whose processes carry it.
};

// A mover in a system call on a share that does not answer.  Once killed it dies when that returns,
// which may be never, and does nothing more; it holds no slot, so nobody waits for it.
bool IsStuckMover(pid_t pid);

// One round: kills everyone in the group and every carrier of the cookie but `except` (and the
// caller), and says how many it found alive, without stuck movers.  Contained when a round finds 0.
std::size_t KillRound(const Containment& what, const std::set<pid_t>& except);

}  // namespace muster
