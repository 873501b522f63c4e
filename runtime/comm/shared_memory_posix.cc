#include "runtime/comm/shared_memory_posix.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <string>
#include <utility>

#include "runtime/base/text.h"

namespace muster {

Result<SharedMemory> SharedMemory::Make(std::size_t bytes) {
  const auto exhausted = [&](int error) {
    return Status(Code::kExhausted, "no " + HumanBytes(bytes) + " of memory to share: " +
                                        ErrnoStatus("memfd", error).message());
  };
  UniqueFd fd(memfd_create("muster-comm", MFD_CLOEXEC));
  if (fd.get() < 0) return exhausted(errno);
  const int error = posix_fallocate(fd.get(), 0, static_cast<off_t>(bytes));
  if (error != 0) return exhausted(error);
  return Map(std::move(fd), bytes);
}

SharedMemory::Handle SharedMemory::handle() const {
  struct stat file {};
  const bool known = fstat(fd_.get(), &file) == 0;
  return {.process = getpid(), .fd = fd_.get(), .inode = known ? file.st_ino : 0};
}

Result<SharedMemory> SharedMemory::Open(const Handle& handle, std::size_t bytes) {
  const std::string path =
      "/proc/" + std::to_string(handle.process) + "/fd/" + std::to_string(handle.fd);
  UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC));
  const auto apart = [&](const std::string& why) {
    return Status(Code::kInvalid,
                  path + " is not the memory of the other rank (" + why +
                      "): ranks that say they run on one node are on different hosts, in "
                      "containers that do not see each other's processes, or of different users");
  };
  if (fd.get() < 0) return apart(ErrnoStatus("open", errno).message());
  struct stat file {};
  if (fstat(fd.get(), &file) != 0) return apart(ErrnoStatus("fstat", errno).message());
  if (file.st_ino != handle.inode || static_cast<std::size_t>(file.st_size) < bytes) {
    return apart("another file has its name");
  }
  return Map(std::move(fd), bytes);
}

Result<SharedMemory> SharedMemory::Map(UniqueFd fd, std::size_t bytes) {
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (address == MAP_FAILED) return ErrnoStatus("mapping memory to share", errno);
  return SharedMemory(std::move(fd), {static_cast<std::byte*>(address), bytes});
}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : fd_(std::move(other.fd_)), bytes_(std::exchange(other.bytes_, {})) {}

SharedMemory::~SharedMemory() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

}  // namespace muster
