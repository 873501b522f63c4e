#include "runtime/train/memory_posix.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>

#include "runtime/base/check.h"
#include "runtime/base/text.h"

namespace muster {

Result<std::span<std::byte>> MapShared(int fd, const std::string& name, std::size_t bytes) {
  const auto failed = [&](const std::string& why) {
    return Status(Code::kExhausted,
                  "cannot share " + HumanBytes(bytes) + " of memory, " + name + ": " + why);
  };
  struct stat file {};
  if (fstat(fd, &file) != 0) return failed(ErrnoStatus("looking at it", errno).message());
  // Beyond its end a memory kills whoever touches it.
  if (static_cast<std::size_t>(file.st_size) < bytes) {
    return failed("it has " + HumanBytes(static_cast<std::size_t>(file.st_size)) + " only");
  }
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (address != MAP_FAILED) return std::span(static_cast<std::byte*>(address), bytes);
  const int error = errno;
  const int seals = fcntl(fd, F_GET_SEALS);
  if (seals >= 0 && (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)) != 0) {
    return failed("it is sealed against writing");
  }
  return failed(ErrnoStatus("mmap", error).message() +
                (error == ENOMEM ? " (see ulimit -v and /proc/sys/vm/max_map_count)" : ""));
}

LinkMemory::~LinkMemory() {
  for (const auto& [name, bytes] : mapped_) munmap(bytes.data(), bytes.size());
}

Result<Memory::Region> LinkMemory::Get(const std::string& name, std::size_t bytes) {
  constexpr auto kTimeout = std::chrono::seconds(60);
  CHECK(!mapped_.contains(name));
  auto memory = link_.GetMemory(name, bytes, kTimeout);
  if (!memory.ok()) return std::move(memory).status();
  const auto region = MapShared(memory->fd.get(), name, bytes);
  if (!region.ok()) return region.status();
  mapped_[name] = *region;
  return Region{.bytes = *region, .busy = memory->busy};
}

Status TakePages(std::span<std::byte> part) {
  constexpr std::uintptr_t kPage = 4096;
  constexpr int kPopulateWrite = 23;  // MADV_POPULATE_WRITE; not in every libc yet.
  if (part.empty()) return {};
  const std::size_t before = reinterpret_cast<std::uintptr_t>(part.data()) % kPage;
  if (madvise(part.data() - before, part.size() + before, kPopulateWrite) == 0) return {};
  if (errno == EINVAL) return {};
  return Status(Code::kExhausted,
                ErrnoStatus("no memory for " + HumanBytes(part.size()), errno).message());
}

}  // namespace muster
