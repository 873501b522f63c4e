// Memory of one process, shared by the threads that are the ranks of a node.  Any thread.
#pragma once

#include <cstdlib>
#include <map>
#include <memory>

#include "runtime/base/mutex.h"
#include "runtime/train/memory.h"

namespace muster {

class ThreadsMemory final : public Memory {
 public:
  Result<Region> Get(const std::string& name, std::size_t bytes) override;

 private:
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }  // From aligned_alloc.
  };
  struct Block {
    std::unique_ptr<std::byte, Free> bytes;
    std::size_t size = 0;
  };

  Mutex mutex_;
  std::map<std::string, Block> blocks_ GUARDED_BY(mutex_);
};

}  // namespace muster
