// Keys of ranks that are threads of one process.  Any thread.
#pragma once

#include <condition_variable>
#include <map>

#include "runtime/base/mutex.h"
#include "runtime/comm/kv.h"

namespace muster {

class ThreadsStore final : public KeyValueStore {
 public:
  Status Set(const std::string& key, const std::string& value) override;
  Result<std::string> Get(const std::string& key, Duration timeout) override;

 private:
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::map<std::string, std::string> values_ GUARDED_BY(mutex_);
};

}  // namespace muster
