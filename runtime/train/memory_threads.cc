#include "runtime/train/memory_threads.h"

#include <cstring>

#include "runtime/base/text.h"

namespace muster {

Result<Memory::Region> ThreadsMemory::Get(const std::string& name, std::size_t bytes) {
  constexpr std::size_t kPage = 4096;
  MutexLock lock(mutex_);
  Block& block = blocks_[name];
  if (block.bytes == nullptr) {
    block.size = (bytes + kPage - 1) / kPage * kPage;
    block.bytes.reset(static_cast<std::byte*>(std::aligned_alloc(kPage, block.size)));
    if (block.bytes == nullptr) {
      return Status(Code::kExhausted, "no memory for " + HumanBytes(bytes) + " of " + name);
    }
    std::memset(block.bytes.get(), 0, block.size);
  }
  if (bytes > block.size) return Status(Code::kInvalid, name + " is smaller than asked for");
  return Region{.bytes = {block.bytes.get(), bytes}};
}

}  // namespace muster
