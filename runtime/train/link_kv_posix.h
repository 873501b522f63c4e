// The launcher's keys over the link that the rank has anyway.  Any thread.
#pragma once

#include <string>

#include "runtime/base/link_posix.h"
#include "runtime/comm/kv.h"

namespace muster {

class LinkStore final : public KeyValueStore {
 public:
  // The link outlives it.
  explicit LinkStore(RankLink& link) : link_(link) {}

  Status Set(const std::string& key, const std::string& value) override {
    return link_.KvSet(key, value);
  }
  Result<std::string> Get(const std::string& key, Duration timeout) override {
    return link_.KvGet(key, timeout);
  }

 private:
  RankLink& link_;
};

}  // namespace muster
