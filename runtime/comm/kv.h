// Keys that all ranks of an attempt see: how ranks that cannot talk yet tell each other a few
// bytes.
//
// The launcher's comes through libmuster_client (kv_client.h); that of threads is kv_threads.h.
// Any thread.
#pragma once

#include <string>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"

namespace muster {

class KeyValueStore {
 public:
  virtual ~KeyValueStore() = default;
  // A later value replaces an earlier one.
  virtual Status Set(const std::string& key, const std::string& value) = 0;
  // kDeadline: nobody set it in time.
  virtual Result<std::string> Get(const std::string& key, Duration timeout) = 0;
};

}  // namespace muster
