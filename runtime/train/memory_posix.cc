#include "runtime/train/memory_posix.h"

#include <sys/mman.h>

#include <cerrno>

#include "runtime/base/check.h"

namespace muster {

LinkMemory::~LinkMemory() {
  for (const auto& [name, bytes] : mapped_) munmap(bytes.data(), bytes.size());
}

Result<Memory::Region> LinkMemory::Get(const std::string& name, std::size_t bytes) {
  constexpr auto kTimeout = std::chrono::seconds(60);
  CHECK(!mapped_.contains(name));
  auto memory = link_.GetMemory(name, bytes, kTimeout);
  if (!memory.ok()) return std::move(memory).status();
  void* address = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory->fd.get(), 0);
  if (address == MAP_FAILED) return ErrnoStatus("mapping " + name, errno);
  const std::span<std::byte> region(static_cast<std::byte*>(address), bytes);
  mapped_[name] = region;
  return Region{.bytes = region, .busy = memory->busy};
}

}  // namespace muster
