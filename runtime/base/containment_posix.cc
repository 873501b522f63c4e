#include "runtime/base/containment_posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <optional>

#include "runtime/base/file_posix.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::string Read(const std::string& path) {
  Result<std::string> bytes = ReadFile(path);
  return bytes.ok() ? *std::move(bytes) : "";
}

Status WriteTo(const std::string& path, const std::string& text) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus("open " + path, errno);
  return WriteAll(fd.get(), text.data(), text.size()).While("writing " + path);
}

bool Exists(const std::string& path) {
  return access(path.c_str(), F_OK) == 0;
}

std::vector<std::string> SubfoldersOf(const std::string& folder) {
  std::vector<std::string> found;
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return found;
  while (const dirent* entry = readdir(dir)) {
    if (entry->d_type == DT_DIR && entry->d_name[0] != '.') {
      found.push_back(folder + "/" + entry->d_name);
    }
  }
  closedir(dir);
  return found;
}

std::vector<pid_t> PidsIn(const std::string& group) {
  std::vector<pid_t> pids;
  for (const std::string& line : Split(Read(group + "/cgroup.procs"), '\n')) {
    if (const auto pid = ParseSigned(line)) pids.push_back(static_cast<pid_t>(*pid));
  }
  for (const std::string& below : SubfoldersOf(group)) {
    for (const pid_t pid : PidsIn(below)) pids.push_back(pid);
  }
  return pids;
}

// Where this process stands in the hierarchy: "0::/path", or "6:freezer:/path".
std::string OwnPath(const std::string& controller) {
  for (const std::string& line : Split(Read("/proc/self/cgroup"), '\n')) {
    const std::vector<std::string> parts = Split(line, ':');
    if (parts.size() >= 3 && parts[1] == controller) return parts[2] == "/" ? "" : parts[2];
  }
  return "";
}

// Folders below which a group may be made, the best first.
std::vector<std::string> Candidates() {
  std::vector<std::string> cgroup2, freezer;
  for (const std::string& line : Split(Read("/proc/self/mountinfo"), '\n')) {
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const std::vector<std::string> left = Split(line.substr(0, dash), ' ');
    const std::vector<std::string> right = Split(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    const bool is_freezer =
        right[0] == "cgroup" && ("," + right[2] + ",").find(",freezer,") != std::string::npos;
    if (right[0] != "cgroup2" && !is_freezer) continue;
    auto& list = is_freezer ? freezer : cgroup2;
    list.push_back(left[4] + OwnPath(is_freezer ? "freezer" : ""));
    if (list.back() != left[4]) list.push_back(left[4]);
  }
  cgroup2.insert(cgroup2.end(), freezer.begin(), freezer.end());
  return cgroup2;
}

bool Usable(const std::string& group) {
  if (Exists(group + "/freezer.state")) return access((group + "/tasks").c_str(), W_OK) == 0;
  const std::string type = Read(group + "/cgroup.type");
  return type.rfind("domain", 0) == 0 && type.find("invalid") == std::string::npos &&
         access((group + "/cgroup.procs").c_str(), W_OK) == 0;
}

struct ProcessLine {
  pid_t parent = 0;
  char state = 'X';
  bool alive = false;
};

// From /proc/PID/stat: "PID (name) S PPID ...", where the name may hold anything.
ProcessLine LineOf(pid_t pid) {
  const std::string stat = Read("/proc/" + std::to_string(pid) + "/stat");
  const std::size_t end = stat.rfind(") ");
  if (end == std::string::npos || end + 4 >= stat.size()) return {};
  const char state = stat[end + 2];
  const std::size_t space = stat.find(' ', end + 4);
  const auto parent = ParseSigned(stat.substr(end + 4, space - end - 4));
  return {.parent = static_cast<pid_t>(parent.value_or(0)),
          .state = state,
          .alive = state != 'Z' && state != 'X'};
}

std::vector<pid_t> AllPids() {
  std::vector<pid_t> pids;
  DIR* dir = opendir("/proc");
  if (dir == nullptr) return pids;
  while (const dirent* entry = readdir(dir)) {
    if (const auto pid = ParseUnsigned(entry->d_name)) pids.push_back(static_cast<pid_t>(*pid));
  }
  closedir(dir);
  return pids;
}

bool Carries(pid_t pid, const std::string& entry) {
  const std::string all = Read("/proc/" + std::to_string(pid) + "/environ");
  for (std::size_t at = all.find(entry); at != std::string::npos; at = all.find(entry, at + 1)) {
    const std::size_t end = at + entry.size();
    if ((at == 0 || all[at - 1] == '\0') && (end == all.size() || all[end] == '\0')) return true;
  }
  return false;
}

// The real one, from "Uid:\treal\teffective...": the folder's owner is root for a process that is
// not dumpable.
std::optional<std::uint64_t> RealUid(pid_t pid) {
  const std::string status = Read("/proc/" + std::to_string(pid) + "/status");
  const std::size_t at = status.find("\nUid:\t");
  if (at == std::string::npos) return std::nullopt;
  const std::size_t begin = at + 6;
  return ParseUnsigned(status.substr(begin, status.find('\t', begin) - begin));
}

}  // namespace

std::string MakeGroup(const std::string& name, std::uint32_t uid, std::uint32_t gid) {
  for (const std::string& parent : Candidates()) {
    std::string group = parent + "/" + name;
    if (mkdir(group.c_str(), 0755) != 0 && errno != EEXIST) continue;
    bool given = true;
    for (const char* file : {"", "/cgroup.procs", "/cgroup.threads", "/cgroup.kill", "/tasks"}) {
      const std::string path = group + file;
      if (Exists(path) && chown(path.c_str(), uid, gid) != 0) given = false;
    }
    if (given && Usable(group)) return group;
    rmdir(group.c_str());
  }
  return "";
}

std::vector<std::string> GroupsNamed(const std::string& prefix) {
  std::vector<std::string> found;
  for (const std::string& parent : Candidates()) {
    for (std::string& group : SubfoldersOf(parent)) {
      if (group.compare(parent.size() + 1, prefix.size(), prefix) == 0) {
        found.push_back(std::move(group));
      }
    }
  }
  return found;
}

Status MakeSubgroup(const std::string& group, const std::string& name) {
  const std::string path = group + "/" + name;
  if (mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return ErrnoStatus("mkdir " + path, errno);
  return {};
}

Status EnterGroup(const std::string& group, pid_t pid) {
  return WriteTo(group + "/cgroup.procs", std::to_string(pid));
}

bool BirthGroup(const std::string& group) {
  return !group.empty() && Exists(group + "/cgroup.events");
}

void KillGroup(const std::string& group) {
  if (group.empty() || WriteTo(group + "/cgroup.kill", "1").ok()) return;
  // Frozen, nobody can fork away from the list that is being killed.
  const std::string freezer = group + "/freezer.state";
  const bool frozen = WriteTo(freezer, "FROZEN").ok();
  for (const pid_t pid : PidsIn(group)) kill(pid, SIGKILL);
  if (frozen && !WriteTo(freezer, "THAWED").ok()) return;  // The caller's next round thaws.
}

bool GroupPopulated(const std::string& group) {
  if (group.empty()) return false;
  const std::string events = Read(group + "/cgroup.events");
  if (!events.empty()) return events.find("populated 1") != std::string::npos;
  return !PidsIn(group).empty();
}

Status RemoveGroup(const std::string& group) {
  if (group.empty()) return {};
  for (const std::string& below : SubfoldersOf(group)) RETURN_IF_ERROR(RemoveGroup(below));
  if (rmdir(group.c_str()) == 0 || errno == ENOENT) return {};
  const int error = errno;
  // Who cannot die yet goes to the group above, which outlives it.
  const std::string above = group.substr(0, group.rfind('/'));
  for (const pid_t pid : PidsIn(group)) {
    if (!IsStuckMover(pid) || !EnterGroup(above, pid).ok()) {
      return ErrnoStatus("rmdir " + group, error);
    }
  }
  if (rmdir(group.c_str()) == 0 || errno == ENOENT) return {};
  return ErrnoStatus("rmdir " + group, errno);
}

bool IsStuckMover(pid_t pid) {
  return LineOf(pid).state == 'D' &&
         Read("/proc/" + std::to_string(pid) + "/cmdline") == std::string("muster\0mover\0", 13);
}

std::vector<pid_t> Descendants(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  std::set<pid_t> alive;
  for (const pid_t pid : AllPids()) {
    const ProcessLine line = LineOf(pid);
    children.emplace(line.parent, pid);
    if (line.alive) alive.insert(pid);
  }
  std::vector<pid_t> found, open_ends = {root};
  while (!open_ends.empty()) {
    const auto [begin, end] = children.equal_range(open_ends.back());
    open_ends.pop_back();
    for (auto child = begin; child != end; ++child) {
      open_ends.push_back(child->second);
      if (alive.contains(child->second)) found.push_back(child->second);
    }
  }
  return found;
}

std::vector<pid_t> CarriersOf(const std::string& entry, std::uint32_t uid) {
  std::vector<pid_t> found;
  for (const pid_t pid : AllPids()) {
    if (Carries(pid, entry) && RealUid(pid) == uid && LineOf(pid).alive) found.push_back(pid);
  }
  return found;
}

std::size_t KillRound(const Containment& what, const std::set<pid_t>& except) {
  std::set<pid_t> found;
  if (GroupPopulated(what.group)) {
    for (const pid_t pid : PidsIn(what.group)) found.insert(pid);
    KillGroup(what.group);
  }
  for (const pid_t pid : CarriersOf(what.entry, what.uid)) {
    if (except.contains(pid) || pid == getpid()) continue;
    kill(pid, SIGKILL);
    found.insert(pid);
  }
  std::erase_if(found, IsStuckMover);
  return found.size();
}

}  // namespace muster
