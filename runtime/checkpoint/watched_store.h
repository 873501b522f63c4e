// A store that tells what it is doing, before and after each call: a call may never come back, and
// somebody else must be able to say where.
//
// One thread, that of the store.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

class StoreWatch {
 public:
  virtual ~StoreWatch() = default;
  virtual void Begins(const char* verb, const std::string& path, std::uint64_t offset) = 0;
  // `bytes`: read or written by it.
  virtual void Ended(std::uint64_t bytes) = 0;
};

// `watch` outlives the store.
std::unique_ptr<Store> Watched(std::unique_ptr<Store> store, StoreWatch& watch);

}  // namespace muster::checkpoint
