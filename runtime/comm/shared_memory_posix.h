// Memory that processes of one user on one node share: it has no name, and ends with them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "runtime/base/file_posix.h"
#include "runtime/base/result.h"

namespace muster {

class SharedMemory {
 public:
  // Zeros, page aligned, and all there: kExhausted now, and no SIGBUS later.
  static Result<SharedMemory> Make(std::size_t bytes);

  // How another process finds it, as long as this one keeps it.
  struct Handle {
    std::int64_t process = -1;
    std::int64_t fd = -1;
    std::uint64_t inode = 0;  // So that nobody takes another file for it.
  };
  Handle handle() const;
  // kInvalid: there is no such memory under that name on this host.
  static Result<SharedMemory> Open(const Handle& handle, std::size_t bytes);

  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&&) = delete;
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;
  ~SharedMemory();

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  SharedMemory(UniqueFd fd, std::span<std::byte> bytes) : fd_(std::move(fd)), bytes_(bytes) {}
  static Result<SharedMemory> Map(UniqueFd fd, std::size_t bytes);

  UniqueFd fd_;
  std::span<std::byte> bytes_;
};

}  // namespace muster
