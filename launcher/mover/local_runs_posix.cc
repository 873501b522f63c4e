#include "launcher/mover/local_runs_posix.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr int kDepth = 3;  // RUN.NODE/data/SAVE/FILE.

std::vector<std::string> NamesIn(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> listing(opendir(folder.c_str()), closedir);
  std::vector<std::string> names;
  while (const dirent* entry = listing ? readdir(listing.get()) : nullptr) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(name);
  }
  return names;
}

// Of it and all below it; links are not followed.
time_t NewestChange(const std::string& path, int depth) {
  struct stat info {};
  if (lstat(path.c_str(), &info) != 0) return 0;
  time_t newest = info.st_mtime;
  if (!S_ISDIR(info.st_mode) || depth == 0) return newest;
  for (const std::string& name : NamesIn(path)) {
    newest = std::max(newest, NewestChange(path + "/" + name, depth - 1));
  }
  return newest;
}

bool InUse(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  return fd.valid() && flock(fd.get(), LOCK_EX | LOCK_NB) != 0;
}

}  // namespace

UniqueFd HoldRun(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (fd.valid() && flock(fd.get(), LOCK_SH | LOCK_NB) != 0) fd.Reset();
  return fd;
}

std::vector<std::string> ForgottenRuns(const std::string& folder, const std::string& own,
                                       WallTime now) {
  const std::size_t dot = own.find('.');
  if (dot == std::string::npos) return {};
  const std::string of_node = own.substr(dot);
  const time_t before = std::chrono::system_clock::to_time_t(now - kForgottenAfter);
  std::vector<std::string> forgotten;
  for (const std::string& name : NamesIn(folder)) {
    const bool of_a_run = name.size() > kRunDigits && IsRunId(name.substr(0, kRunDigits)) &&
                          name.substr(kRunDigits) == of_node;
    if (!of_a_run || name == own) continue;
    struct stat info {};
    const bool is_folder =
        lstat((folder + "/" + name).c_str(), &info) == 0 && S_ISDIR(info.st_mode);
    const std::string path = folder + "/" + name;
    if (is_folder && NewestChange(path, kDepth) < before && !InUse(path)) forgotten.push_back(name);
  }
  return forgotten;
}

}  // namespace muster
