#include "launcher/jobd/status_file_posix.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "runtime/base/file_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

Status Replace(const std::string& path, const std::string& bytes) {
  const std::string temporary = path + ".tmp";
  const UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus("open " + temporary, errno);
  RETURN_IF_ERROR(WriteAll(fd.get(), bytes.data(), bytes.size()));
  if (rename(temporary.c_str(), path.c_str()) != 0) return ErrnoStatus("rename " + path, errno);
  return {};
}

}  // namespace

void StatusKeeper::Write(const StatusFile& file) {
  std::string bytes = EncodeWire(file);
  if (bytes == last_) return;
  if (Status written = Replace(path_, bytes); !written.ok()) {
    return Log(LogLevel::kError, "the status file is not up to date: " + written.message());
  }
  last_ = std::move(bytes);
  changed_ = true;
  if (syncing_ == 0) StartSync();
}

void StatusKeeper::StartSync() {
  changed_ = false;
  const std::string folder = std::filesystem::path(path_).parent_path().string();
  sigset_t all, before;
  sigfillset(&all);
  sigprocmask(SIG_SETMASK, &all, &before);
  const pid_t pid = fork();
  if (pid == 0) {
    // It may hang on the disk for long: it must not hold the job's connections open.
    close_range(3, ~0U, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    fsync(open(path_.c_str(), O_RDONLY));
    fsync(open(folder.c_str(), O_RDONLY | O_DIRECTORY));
    _exit(0);
  }
  sigprocmask(SIG_SETMASK, &before, nullptr);
  syncing_ = pid > 0 ? pid : 0;
}

bool StatusKeeper::Reaped(pid_t pid) {
  if (pid != syncing_ || pid == 0) return false;
  syncing_ = 0;
  if (changed_) StartSync();
  return true;
}

}  // namespace muster
