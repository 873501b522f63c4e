#include "launcher/coordinator/journal_files_posix.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <string_view>

#include "launcher/coordinator/journal_sqlite.h"

namespace muster {
namespace {

constexpr std::string_view kMagic("SQLite format 3\0", 16);
constexpr std::size_t kApplicationIdOffset = 68;
constexpr char kKept[] = "; nothing was changed: choose another state directory, or move it away";

// A POSIX lock and not flock(2): the kernel names its holder, so the pid is never stale.
struct flock WholeFile() {
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

Status Held(int fd, const std::string& path) {
  struct flock lock = WholeFile();
  std::string who = "another coordinator";
  if (fcntl(fd, F_GETLK, &lock) == 0 && lock.l_type != F_UNLCK && lock.l_pid > 0) {
    who += " (pid " + std::to_string(lock.l_pid) + ")";
  }
  return Status(Code::kUnavailable, who + " has " + path + "; stop it first");
}

std::string NewName(const std::string& path) {
  return path + ".new";
}

Status SyncFolderOf(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  const UniqueFd fd(open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus("open " + folder, errno);
  if (fsync(fd.get()) != 0) return ErrnoStatus("fsync " + folder, errno);
  return Status();
}

Status CheckHeader(const std::string& path, std::string_view head) {
  if (head.empty()) {
    return Status(Code::kDataLoss, path + " is empty: a journal never is, it was cut off" + kKept);
  }
  if (!head.starts_with(kMagic) || head.size() < kApplicationIdOffset + 4) {
    return Status(Code::kInvalid, path + " is no SQLite file, so no journal of muster" + kKept);
  }
  std::uint32_t id = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    id = id << 8U | static_cast<unsigned char>(head[kApplicationIdOffset + i]);
  }
  if (id == kJournalApplicationId) return Status();
  std::array<char, 32> found = {};
  (void)std::snprintf(found.data(), found.size(), "0x%08x", id);
  return Status(Code::kInvalid, path + " is an SQLite file of another program (application id " +
                                    found.data() + "), no journal of muster" + kKept);
}

}  // namespace

Result<UniqueFd> LockJournal(const std::string& path) {
  const std::string name = path + ".lock";
  UniqueFd fd(open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus("open " + name, errno);
  struct flock lock = WholeFile();
  if (fcntl(fd.get(), F_SETLK, &lock) == 0) return fd;
  if (errno == EACCES || errno == EAGAIN) return Held(fd.get(), path);
  return ErrnoStatus("lock " + name, errno);
}

Result<bool> FindJournal(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOCTTY));
  struct stat found = {};
  if (!fd.valid()) {
    if (errno != ENOENT) return ErrnoStatus("open " + path, errno);
    const std::string log = path + "-wal";
    if (stat(log.c_str(), &found) != 0 || found.st_size == 0) return false;
    return Status(Code::kDataLoss, path + " is gone, but its " + log + " is here" + kKept);
  }
  if (fstat(fd.get(), &found) != 0) return ErrnoStatus("stat " + path, errno);
  if (!S_ISREG(found.st_mode)) {
    return Status(Code::kInvalid, path + " is not a regular file" + kKept);
  }
  std::array<char, 100> head = {};
  const ssize_t size = pread(fd.get(), head.data(), head.size(), 0);
  if (size < 0) return ErrnoStatus("read " + path, errno);
  RETURN_IF_ERROR(CheckHeader(path, {head.data(), static_cast<std::size_t>(size)}));
  if (fchmod(fd.get(), 0600) != 0) return ErrnoStatus("chmod " + path, errno);
  return true;
}

Result<std::string> PrepareNewJournal(const std::string& path) {
  std::string name = NewName(path);
  for (const char* rest : {"", "-journal", "-wal", "-shm"}) unlink((name + rest).c_str());
  const UniqueFd fd(open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus("create " + name, errno);
  return name;
}

Status PublishNewJournal(const std::string& path) {
  if (rename(NewName(path).c_str(), path.c_str()) != 0) {
    return ErrnoStatus("rename " + NewName(path), errno);
  }
  return SyncFolderOf(path);
}

}  // namespace muster
