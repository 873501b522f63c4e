#include "launcher/cli/cluster_dir_posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/base/containment_posix.h"
#include "runtime/base/env_posix.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::size_t kLongestState = 1024;  // Files below it stay under the kernel's 4096.

std::optional<std::string> EnvPath(const std::string& name) {
  auto value = GetEnv(name);
  if (value && value->empty()) value.reset();
  return value;
}

Result<std::string> HomeFolder() {
  if (auto home = EnvPath("HOME")) return *home;
  if (const passwd* entry = getpwuid(getuid())) return std::string(entry->pw_dir);
  return Status(Code::kInvalid, "no HOME: set MUSTER_STATE_DIR to a folder of yours");
}

std::vector<std::string> Entries(const std::string& folder) {
  std::vector<std::string> names;
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  closedir(dir);
  return names;
}

Status CheckOurs(const std::string& path) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return ErrnoStatus("stat " + path, errno);
  if (!S_ISDIR(info.st_mode)) return Status(Code::kInvalid, path + " is not a folder");
  if (info.st_uid != getuid()) {
    return Status(Code::kDenied, path + " belongs to uid " + std::to_string(info.st_uid) +
                                     ", not to uid " + std::to_string(getuid()) +
                                     "; name a folder of yours");
  }
  if (access(path.c_str(), R_OK | W_OK | X_OK) != 0) return ErrnoStatus("write to " + path, errno);
  return {};
}

// Down to the folder itself.
bool OthersMayEnter(const std::string& folder) {
  for (std::size_t at = folder.find('/', 1);; at = folder.find('/', at + 1)) {
    struct stat info {};
    if (stat(folder.substr(0, at).c_str(), &info) != 0 || (info.st_mode & S_IXOTH) == 0) {
      return false;
    }
    if (at == std::string::npos) return true;
  }
}

bool KeeperAlive(const ClusterDescription& cluster) {
  const auto start = ProcessStart(cluster.keeper_pid);
  return start.has_value() && *start == cluster.keeper_start;
}

// Keeper and agents are dead, but a job daemon may have survived them.
void EndAllOf(const ClusterDescription& cluster) {
  const Containment all = {.entry = "MUSTER_CLUSTER_COOKIE=" + cluster.short_id, .uid = getuid()};
  constexpr int kMostRounds = 200;
  for (int round = 0; round < kMostRounds && KillRound(all, {}) > 0; ++round) {
    poll(nullptr, 0, 5);  // For the kernel to end what was killed.
  }
}

bool RemovePrivateState(const std::string& state, bool keep_logs) {
  if (!keep_logs) return RemoveTree(state).ok();
  for (const std::string& name : Entries(state)) {
    const bool kept = name == "logs" || name.ends_with(".log");
    if (!kept && !RemoveTree(state + "/" + name).ok()) return false;
  }
  return true;
}

}  // namespace

Result<std::string> StateRoot() {
  std::string root;
  if (auto given = EnvPath("MUSTER_STATE_DIR")) {
    root = *given;
  } else if (auto xdg = EnvPath("XDG_STATE_HOME")) {
    root = *xdg + "/muster";
  } else {
    auto home = HomeFolder();
    if (!home.ok()) return std::move(home).status();
    root = *home + "/.local/state/muster";
  }
  while (root.size() > 1 && root.back() == '/') root.pop_back();
  if (root[0] != '/') {
    return Status(Code::kInvalid, "the state folder must begin with /, found '" + root + "'");
  }
  if (root.size() > kLongestState) {
    return Status(Code::kInvalid,
                  "the path of the state folder is too long: " + std::to_string(root.size()) +
                      " bytes, at most " + std::to_string(kLongestState) +
                      " are allowed; set MUSTER_STATE_DIR to a shorter one");
  }
  return root;
}

Result<std::string> StateFolder(const std::string& asked, const std::string& configured,
                                const std::string& name) {
  if (!asked.empty()) return asked;
  if (!configured.empty()) return configured;
  auto root = StateRoot();
  if (!root.ok()) return root;
  return *root + "/" + name;
}

Status MakeOwnFolder(const std::string& path) {
  // Below root's others have files of theirs: certificates, logs.
  Status made = MakeFolders(path, getuid() == 0 ? 0711 : 0700);
  if (!made.ok()) {
    if (made.code() == Code::kExists) return Status(Code::kInvalid, made.message());
    return made;
  }
  return CheckOurs(path);
}

Result<std::string> MakeRuntimeFolder(const std::string& short_id, bool for_all) {
  std::string base = EnvPath("XDG_RUNTIME_DIR").value_or("/tmp");
  if (for_all && getuid() == 0 && !OthersMayEnter(base)) base = "/tmp";
  const std::string ours = base + "/muster-" + std::to_string(getuid());
  const std::string folder = ours + "/" + short_id;
  const mode_t mode = getuid() == 0 ? 0711 : 0700;
  for (const std::string& path : {ours, folder}) {
    if (mkdir(path.c_str(), mode) != 0 && errno != EEXIST) {
      return ErrnoStatus("mkdir " + path, errno)
          .While("making the runtime folder (set XDG_RUNTIME_DIR to a folder of yours)");
    }
    RETURN_IF_ERROR(CheckOurs(path).While("making the runtime folder"));
    if (chmod(path.c_str(), mode) != 0) return ErrnoStatus("chmod " + path, errno);
  }
  return folder;
}

std::optional<std::uint64_t> ProcessStart(std::int64_t pid) {
  const auto stat = ReadFile("/proc/" + std::to_string(pid) + "/stat");
  if (!stat.ok()) return std::nullopt;
  const std::size_t end = stat->rfind(") ");
  if (end == std::string::npos) return std::nullopt;
  const auto fields = Split(std::string_view(*stat).substr(end + 2), ' ');
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") return std::nullopt;
  return ParseUnsigned(fields[19]);
}

Result<FoundCluster> LoadCluster(const std::string& state) {
  const auto text = ReadFile(DescriptionFile(state));
  if (!text.ok()) return text.status();
  auto cluster = ParseClusterDescription(*text);
  if (!cluster.ok()) return std::move(cluster).status().While(DescriptionFile(state));
  const bool alive = KeeperAlive(*cluster);
  return FoundCluster{.state = state, .cluster = *std::move(cluster), .alive = alive};
}

std::vector<FoundCluster> FindClusters(bool private_too) {
  std::vector<FoundCluster> found;
  const auto root = StateRoot();
  if (!root.ok()) return found;
  for (const std::string& name : Entries(*root)) {
    auto cluster = LoadCluster(*root + "/" + name);
    if (!cluster.ok() || (cluster->cluster.is_private && !private_too)) continue;
    found.push_back(*std::move(cluster));
  }
  std::sort(found.begin(), found.end(), [](const FoundCluster& a, const FoundCluster& b) {
    return a.cluster.started_us > b.cluster.started_us;
  });
  return found;
}

Result<FoundCluster> ChooseCluster(const std::string& asked) {
  const std::string wanted = asked.empty() ? GetEnv("MUSTER_CLUSTER").value_or("") : asked;
  if (!wanted.empty()) {
    std::string state = wanted;
    if (wanted.find('/') == std::string::npos) {
      const auto root = StateRoot();
      if (!root.ok()) return root.status();
      state = *root + "/" + wanted;
    }
    auto cluster = LoadCluster(state);
    if (cluster.ok()) return cluster;
    return Status(Code::kUnavailable,
                  "there is no cluster '" + wanted + "': " + cluster.status().message());
  }
  for (FoundCluster& cluster : FindClusters(false)) {
    if (cluster.alive) return std::move(cluster);
  }
  return Status(Code::kNotFound,
                "no cluster is up; start one with `muster up`, or name one with --cluster DIR or "
                "$MUSTER_CLUSTER");
}

Result<UniqueFd> LockCluster(const std::string& state, bool alone) {
  UniqueFd lock(open(LockFile(state).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!lock.valid()) return ErrnoStatus("open " + LockFile(state), errno);
  if (alone && flock(lock.get(), LOCK_EX | LOCK_NB) != 0) {
    return Status(Code::kExists, "somebody still lives in " + state);
  }
  if (flock(lock.get(), LOCK_SH) != 0) return ErrnoStatus("lock " + LockFile(state), errno);
  return lock;
}

bool LeaveCluster(UniqueFd lock, const std::string& state, const ClusterDescription& cluster,
                  bool keep_logs) {
  if (!lock.valid() || flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return false;
  bool clean = RemoveTree(cluster.runtime).ok();
  for (const std::string& name : Entries("/dev/shm")) {
    if (name.rfind("muster-" + cluster.short_id + "-", 0) != 0) continue;
    clean = RemoveTree("/dev/shm/" + name).ok() && clean;
  }
  // The user's own folder above goes with the last cluster; rmdir spares a folder that is in use.
  rmdir(cluster.runtime.substr(0, cluster.runtime.rfind('/')).c_str());
  if (cluster.is_private) clean = RemovePrivateState(state, keep_logs) && clean;
  return clean;
}

void SweepStale(std::size_t keep) {
  const auto root = StateRoot();
  if (!root.ok()) return;
  std::vector<std::pair<time_t, std::string>> kept;
  for (const std::string& name : Entries(*root)) {
    const std::string state = *root + "/" + name;
    const auto cluster = LoadCluster(state);
    struct stat info {};
    if (cluster.ok() && cluster->cluster.keeper_pid != 0 && !cluster->alive) {
      auto lock = LockCluster(state, /*alone=*/true);
      if (!lock.ok()) continue;
      EndAllOf(cluster->cluster);
      LeaveCluster(*std::move(lock), state, cluster->cluster, false);
    } else if (name.rfind("run-", 0) == 0 && stat(DescriptionFile(state).c_str(), &info) != 0 &&
               stat(state.c_str(), &info) == 0) {
      kept.emplace_back(info.st_mtime, state);
    }
  }
  std::sort(kept.rbegin(), kept.rend());
  for (std::size_t i = keep; i < kept.size(); ++i) {
    if (!RemoveTree(kept[i].second).ok()) return;  // Another run sweeps as well.
  }
}

}  // namespace muster
