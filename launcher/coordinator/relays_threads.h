// Which stream to an agent belongs to which caller's.  Any thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>

#include "runtime/base/mutex.h"
#include "runtime/base/orders.h"

namespace muster {

// By the number that the agent was given.  `Stream`: the caller's.
template <typename Stream>
class Relays {
 public:
  void Expect(std::uint64_t id, const NodeName& node, std::weak_ptr<Stream> caller) {
    const MutexLock lock(mutex_);
    entries_[id] = {.node = node, .caller = std::move(caller)};
  }
  void Forget(std::uint64_t id) {
    const MutexLock lock(mutex_);
    entries_.erase(id);
  }
  // Null: nobody waits for it, or not from this node.
  std::shared_ptr<Stream> Find(std::uint64_t id, const NodeName& node) {
    const MutexLock lock(mutex_);
    const auto found = entries_.find(id);
    if (found == entries_.end() || found->second.node != node) return nullptr;
    return found->second.caller.lock();
  }

 private:
  struct Entry {
    NodeName node;
    std::weak_ptr<Stream> caller;
  };
  Mutex mutex_;
  std::map<std::uint64_t, Entry> entries_ GUARDED_BY(mutex_);
};

}  // namespace muster
