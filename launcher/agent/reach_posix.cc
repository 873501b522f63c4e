#include "launcher/agent/reach_posix.h"

#include <fcntl.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "runtime/base/file_posix.h"

namespace muster {
namespace {

// This thread's view of files, but not the process's: hence no setgroups(3), which tells all.
class ViewOf {
 public:
  explicit ViewOf(const Owner& owner) : before_(static_cast<std::size_t>(getgroups(0, nullptr))) {
    before_.resize(static_cast<std::size_t>(
        std::max(getgroups(static_cast<int>(before_.size()), before_.data()), 0)));
    syscall(SYS_setgroups, owner.groups.size(), owner.groups.data());
    gid_ = setfsgid(owner.gid);
    uid_ = setfsuid(owner.uid);
  }
  ~ViewOf() {
    setfsuid(static_cast<uid_t>(uid_));
    setfsgid(static_cast<gid_t>(gid_));
    syscall(SYS_setgroups, before_.size(), before_.data());
  }
  ViewOf(const ViewOf&) = delete;
  ViewOf& operator=(const ViewOf&) = delete;

 private:
  std::vector<gid_t> before_;
  int uid_ = 0, gid_ = 0;
};

// Whether everything before the last name of `path` can be passed.
bool Passes(const std::string& path) {
  return UniqueFd(open(path.c_str(), O_PATH | O_CLOEXEC)).valid() || errno != EACCES;
}

// The folder on the way to `path` that cannot be entered; empty: none.
std::string Barrier(const std::string& path) {
  for (std::size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1)) {
    if (!Passes(path.substr(0, at) + "/.")) return path.substr(0, at);
  }
  return Passes(path + "/.") ? "" : path;
}

std::string ModeOf(const std::string& folder) {
  struct stat info {};
  char text[16] = "?";
  if (stat(folder.c_str(), &info) == 0) {
    (void)std::snprintf(text, sizeof text, "%04o", info.st_mode & 07777U);
  }
  return text;
}

}  // namespace

Status CheckReach(const Owner& owner, const std::vector<std::string>& folders) {
  if (geteuid() != 0 || owner.uid == 0) return {};
  std::string barrier, wanted;
  {
    const ViewOf view(owner);
    for (const std::string& folder : folders) {
      if (barrier.empty()) barrier = Barrier(wanted = folder);
    }
  }
  if (barrier.empty()) return {};
  return Status(Code::kDenied,
                "uid " + std::to_string(owner.uid) + " cannot enter " + barrier + " (mode " +
                    ModeOf(barrier) + "), but its job needs " + wanted +
                    "; let others pass (chmod o+x " + barrier +
                    "), or give the agent a --state and a XDG_RUNTIME_DIR that everyone can enter");
}

}  // namespace muster
