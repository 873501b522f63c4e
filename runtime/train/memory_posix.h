// Memory of the job daemon, asked for on the link and mapped: it outlives this rank and its
// attempt.  Every rank of the node asks for itself.  One thread.
#pragma once

#include <map>
#include <utility>

#include "runtime/base/link_posix.h"
#include "runtime/train/memory.h"

namespace muster {

// Maps the first `bytes` of a memory that other processes map too.  kExhausted: it is smaller, or
// sealed against writing, or this process may map no more; the message says which, and of what.
Result<std::span<std::byte>> MapShared(int fd, const std::string& name, std::size_t bytes);

// Takes the pages of a part of such a memory before they are written.  kExhausted: there are none.
// Does nothing on a kernel before 5.14.
Status TakePages(std::span<std::byte> part);

class LinkMemory final : public Memory {
 public:
  explicit LinkMemory(RankLink& link) : link_(link) {}
  LinkMemory(const LinkMemory&) = delete;
  LinkMemory& operator=(const LinkMemory&) = delete;
  ~LinkMemory() override;

  Result<Region> Get(const std::string& name, std::size_t bytes) override;
  Status Prefault(std::span<std::byte> part) override { return TakePages(part); }

 private:
  RankLink& link_;
  std::map<std::string, std::span<std::byte>> mapped_;
};

}  // namespace muster
