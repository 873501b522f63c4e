// Files and descriptors of the machine, as values and Results.  Any thread.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "runtime/base/result.h"

namespace muster {

// Owns one file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.Release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) Reset(other.Release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { Reset(); }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset(int fd = -1);

 private:
  int fd_ = -1;
};

// "open /a/b: No such file or directory", with the Code that errno maps to (ENOSPC and EDQUOT are
// kExhausted, ENOENT kNotFound, EEXIST kExists, EACCES, EPERM and EROFS kDenied, else
// kUnavailable).
Status ErrnoStatus(std::string_view doing, int error);

Result<std::string> ReadFile(const std::string& path);
// A file in another user's folder: only a regular one, of at most `limit` bytes, and no link; never
// waits.  kInvalid says what else it is.
Result<std::string> ReadForeignFile(const std::string& path, std::size_t limit);

// Whether a read would not wait.
bool Readable(int fd);

// Replaces `path` whole or not at all: temporary file, fsync, rename, fsync of the folder.
Status WriteFileAtomically(const std::string& path, std::string_view bytes, unsigned mode = 0600);
// Without the two fsyncs: whole whatever process dies, but not when the machine does.
Status ReplaceFile(const std::string& path, std::string_view bytes, unsigned mode = 0600);

// Writes or reads exactly `size` bytes, over short transfers and EINTR.
Status WriteAll(int fd, const void* data, std::size_t size);
Status ReadAll(int fd, void* data, std::size_t size);

// mkdir -p, each new folder with `mode`.
Status MakeFolders(const std::string& path, unsigned mode = 0700);

// rm -rf that never follows a link out of the tree.  A tree that is not there is a success.
Status RemoveTree(const std::string& path);

}  // namespace muster
