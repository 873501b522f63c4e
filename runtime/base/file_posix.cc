#include "runtime/base/file_posix.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace muster {

void UniqueFd::Reset(int fd) {
  if (fd_ >= 0) close(fd_);
  fd_ = fd;
}

Status ErrnoStatus(std::string_view doing, int error) {
  Code code = Code::kUnavailable;
  switch (error) {
    case ENOENT:
      code = Code::kNotFound;
      break;
    case EEXIST:
      code = Code::kExists;
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      code = Code::kDenied;
      break;
    case ENOSPC:
    case EDQUOT:
      code = Code::kExhausted;
      break;
    default:
      break;
  }
  return Status(code, std::string(doing) + ": " + std::strerror(error));
}

namespace {

Result<std::string> ReadToEnd(const UniqueFd& fd, const std::string& path) {
  std::string bytes;
  char buffer[65536];
  for (;;) {
    const ssize_t n = read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("read " + path, errno);
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(n));
  }
}

}  // namespace

Result<std::string> ReadFile(const std::string& path) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus("open " + path, errno);
  return ReadToEnd(fd, path);
}

Result<std::string> ReadForeignFile(const std::string& path, std::size_t limit) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  struct stat info {};
  if (!fd.valid() || fstat(fd.get(), &info) != 0) return ErrnoStatus("open " + path, errno);
  if (!S_ISREG(info.st_mode)) return Status(Code::kInvalid, path + " is not a regular file");
  if (info.st_size > static_cast<off_t>(limit)) {
    return Status(Code::kInvalid, path + " has " + std::to_string(info.st_size) + " bytes, " +
                                      std::to_string(limit) + " are allowed");
  }
  return ReadToEnd(fd, path);
}

bool Readable(int fd) {
  pollfd wait = {.fd = fd, .events = POLLIN, .revents = 0};
  return poll(&wait, 1, 0) > 0;
}

Status WriteAll(int fd, const void* data, std::size_t size) {
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = write(fd, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("write", errno);
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return {};
}

Status ReadAll(int fd, void* data, std::size_t size) {
  char* at = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t n = read(fd, at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return ErrnoStatus("read", errno);
    if (n == 0) return Status(Code::kDataLoss, "read: end of file too early");
    at += n;
    size -= static_cast<std::size_t>(n);
  }
  return {};
}

namespace {

Status Replace(const std::string& path, std::string_view bytes, unsigned mode, bool sync) {
  const std::string temporary = path + ".tmp." + std::to_string(getpid());
  {
    const UniqueFd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
    if (!fd.valid()) return ErrnoStatus("open " + temporary, errno);
    Status written = WriteAll(fd.get(), bytes.data(), bytes.size());
    if (written.ok() && fchmod(fd.get(), mode) != 0) written = ErrnoStatus("fchmod", errno);
    if (written.ok() && sync && fsync(fd.get()) != 0) written = ErrnoStatus("fsync", errno);
    if (!written.ok()) {
      unlink(temporary.c_str());
      return std::move(written).While("writing " + temporary);
    }
  }
  if (rename(temporary.c_str(), path.c_str()) != 0) {
    Status failed = ErrnoStatus("rename to " + path, errno);
    unlink(temporary.c_str());
    return failed;
  }
  return {};
}

}  // namespace

Status ReplaceFile(const std::string& path, std::string_view bytes, unsigned mode) {
  return Replace(path, bytes, mode, /*sync=*/false);
}

Status WriteFileAtomically(const std::string& path, std::string_view bytes, unsigned mode) {
  RETURN_IF_ERROR(Replace(path, bytes, mode, /*sync=*/true));
  const std::string folder = std::filesystem::path(path).parent_path().string();
  const UniqueFd fd(
      open(folder.empty() ? "." : folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid() || fsync(fd.get()) != 0) return ErrnoStatus("fsync of " + folder, errno);
  return {};
}

Status MakeFolders(const std::string& path, unsigned mode) {
  for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string folder = path.substr(0, at);
    if (mkdir(folder.c_str(), mode) != 0 && errno != EEXIST) {
      const int error = errno;
      struct stat info {};
      if (stat(folder.c_str(), &info) != 0) return ErrnoStatus("mkdir " + folder, error);
    }
    if (at == std::string::npos) break;
  }
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return ErrnoStatus("mkdir " + path, errno);
  if (!S_ISDIR(info.st_mode)) return Status(Code::kExists, path + " is not a folder");
  return {};
}

Status RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return ErrnoStatus("remove " + path, error.value());
  return {};
}

}  // namespace muster
