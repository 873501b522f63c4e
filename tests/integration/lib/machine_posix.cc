#include "tests/integration/lib/machine_posix.h"

#include <signal.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "runtime/base/text.h"

namespace muster::testing {
namespace {

namespace fs = std::filesystem;

std::string Slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

// Names in a folder; none if it cannot be read, or goes away meanwhile.
std::vector<std::string> Names(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  for (auto it = fs::directory_iterator(folder, error); !error && it != fs::end(it);
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  return names;
}

bool IsAlive(int pid) {
  return kill(pid, 0) == 0 || errno == EPERM;
}

// Of a cluster in the folder of another living test.
bool IsOfAnotherTest(const fs::path& process, const std::string& environ, const std::string& mark) {
  int owner = TestFolderNamedIn(Slurp(process / "cmdline"));
  if (owner == 0) owner = TestFolderNamedIn(environ);
  return owner != 0 && !mark.starts_with(std::to_string(owner) + "-") && IsAlive(owner);
}

std::string CommandLine(const fs::path& process) {
  std::string text = Slurp(process / "cmdline");
  for (char& c : text) {
    if (c == '\0') c = ' ';
  }
  return text.substr(0, 100);
}

// socket:[1234] -> 1234
std::string SocketInode(const fs::path& descriptor) {
  std::error_code error;
  const std::string target = fs::read_symlink(descriptor, error).string();
  if (error || !target.starts_with("socket:[")) return "";
  return target.substr(8, target.size() - 9);
}

void LookAtProcesses(const std::string& mark, Traces* out) {
  std::map<std::string, std::string> sockets = ListeningSockets(Slurp("/proc/self/net/tcp"));
  sockets.merge(ListeningSockets(Slurp("/proc/self/net/tcp6")));
  for (const std::string& name : Names("/proc")) {
    const std::optional<std::uint64_t> pid = ParseUnsigned(name);
    if (!pid) continue;
    const fs::path process = fs::path("/proc") / name;
    const std::string environ = Slurp(process / "environ");
    const Marks marks = MarksOf(environ);
    const bool self = *pid == static_cast<std::uint64_t>(getpid());
    const bool others = marks.test.empty() && IsOfAnotherTest(process, environ, mark);
    if (IsOurs(marks, mark) && !self && !others) {
      out->processes[static_cast<int>(*pid)] = CommandLine(process);
    }
    for (const std::string& descriptor : Names(process / "fd")) {
      const auto socket = sockets.find(SocketInode(process / "fd" / descriptor));
      if (socket == sockets.end()) continue;
      const bool foreign = others || (!marks.test.empty() && marks.test != mark);
      if (!foreign) out->ports[socket->second] = "process " + name + ": " + CommandLine(process);
    }
  }
}

void LookAtMounts(Traces* out) {
  for (const std::string& line : Split(Slurp("/proc/self/mountinfo"), '\n')) {
    const std::vector<std::string> words = Split(line, ' ');
    if (words.size() > 4) out->mounts.insert(words[4]);
  }
}

void LookAtCgroups(const fs::path& folder, Traces* out) {
  std::error_code error;
  for (auto it = fs::recursive_directory_iterator(
           folder, fs::directory_options::skip_permission_denied, error);
       !error && it != fs::end(it); it.increment(error)) {
    const std::string path = it->path().string();
    if (it->is_directory(error) && path.find("/muster-") != std::string::npos) {
      out->cgroups.insert(path);
    }
  }
}

void LookAtFiles(const fs::path& folder, Traces* out) {
  for (const std::string& name : Names(folder)) {
    if (!IsOurName(name)) continue;
    const int owner = TestFolderOwner(name);
    if (owner != 0 && owner != getpid() && IsAlive(owner)) continue;
    out->files.insert((folder / name).string());
    if (!name.starts_with("muster-") || owner != 0) continue;
    for (const std::string& inner : Names(folder / name)) {
      out->files.insert((folder / name / inner).string());
    }
  }
}

}  // namespace

Traces LookAtMachine(const std::string& mark) {
  Traces traces;
  LookAtProcesses(mark, &traces);
  for (const std::string& name : Names("/run/netns")) traces.namespaces.insert(name);
  LookAtMounts(&traces);
  LookAtCgroups("/sys/fs/cgroup", &traces);
  LookAtFiles("/tmp", &traces);
  LookAtFiles("/dev/shm", &traces);
  return traces;
}

}  // namespace muster::testing
