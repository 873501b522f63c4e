// Memory that outlives a rank: the job's memfds on this node, by name.
//
// They live as long as jobd, across attempts; their size is sealed; all of them together stay below
// a bound.  No names in any file system, so nothing to clean up.  The loop's thread only.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "runtime/base/file_posix.h"

namespace muster {

class JobMemory {
 public:
  explicit JobMemory(std::uint64_t bound) : bound_(bound) {}

  struct Block {
    int fd = -1;  // Owned by JobMemory.
    std::uint64_t bytes = 0;
    bool fresh = false;  // Made just now: all zeros.
  };

  // The block of that name, made when it is not there.  kInvalid when it is there with another
  // size; kExhausted beyond the bound.
  Result<Block> Get(const std::string& name, std::uint64_t bytes);

  // The block of that name, of at least so many bytes: one that is too small is made anew, and what
  // it held is lost to those who have not mapped it.
  Result<Block> GetAtLeast(const std::string& name, std::uint64_t bytes);

  // The block of that name, or kNotFound.
  Result<Block> Find(const std::string& name) const;

  std::uint64_t charged() const { return charged_; }

 private:
  struct Held {
    UniqueFd fd;
    std::uint64_t bytes = 0;
  };
  const std::uint64_t bound_;
  std::uint64_t charged_ = 0;
  std::map<std::string, Held> blocks_;
};

}  // namespace muster
