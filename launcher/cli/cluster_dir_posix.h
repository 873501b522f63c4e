// The clusters of this host that this user can see, and the folders that they live in.
//
// Every function may be called on any thread; none keeps anything but the lock.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/cli/cluster_dir.h"
#include "runtime/base/file_posix.h"

namespace muster {

struct FoundCluster {
  std::string state;
  ClusterDescription cluster;
  bool alive = false;  // Its keeper is.
};

// ${MUSTER_STATE_DIR:-${XDG_STATE_HOME:-~/.local/state}/muster}.
Result<std::string> StateRoot();

// The state folder of a cluster that is told where: `asked` (the command line), else `configured`
// (the cluster file), else the one of its name below StateRoot().
Result<std::string> StateFolder(const std::string& asked, const std::string& configured,
                                const std::string& name);

// Makes a folder of ours, mode 0700 (root's can be entered by others), with all above it.  kDenied
// when it is another user's, or cannot be written; kInvalid when its name is too long.
Status MakeOwnFolder(const std::string& path);

// ${XDG_RUNTIME_DIR:-/tmp}/muster-UID/SHORTID, made; root's can be entered by other users.
// `for_all`: it serves every user, so root takes /tmp where others cannot enter $XDG_RUNTIME_DIR.
Result<std::string> MakeRuntimeFolder(const std::string& short_id, bool for_all = false);

// Clusters below StateRoot(), the newest first.  Private ones only with `private_too`.
std::vector<FoundCluster> FindClusters(bool private_too);

// `--cluster`, else $MUSTER_CLUSTER, else the newest that is up.  kNotFound without any.
Result<FoundCluster> ChooseCluster(const std::string& asked);

Result<FoundCluster> LoadCluster(const std::string& state);

// When the process began, in clock ticks since boot: with its pid, a name that is not reused.
std::optional<std::uint64_t> ProcessStart(std::int64_t pid);

// Takes the shared lock.  kExists when `alone` and somebody has it.
Result<UniqueFd> LockCluster(const std::string& state, bool alone);

// Gives the lock back; whoever does so last removes the runtime folder, and a private cluster's
// state but for logs/ with `keep_logs`.  True for the last one.
bool LeaveCluster(UniqueFd lock, const std::string& state, const ClusterDescription& cluster,
                  bool keep_logs);

// Removes what clusters left that nobody lives in any more, and all but the newest `keep` folders
// of private clusters whose logs were kept.
void SweepStale(std::size_t keep);

}  // namespace muster
