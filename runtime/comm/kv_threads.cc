#include "runtime/comm/kv_threads.h"

namespace muster {

Status ThreadsStore::Set(const std::string& key, const std::string& value) {
  {
    MutexLock lock(mutex_);
    values_[key] = value;
  }
  changed_.notify_all();
  return {};
}

Result<std::string> ThreadsStore::Get(const std::string& key, Duration timeout) {
  const TimePoint deadline = RealClock().Now() + timeout;
  MutexLock lock(mutex_);
  for (;;) {
    const auto found = values_.find(key);
    if (found != values_.end()) return found->second;
    if (RealClock().Now() >= deadline) {
      return Status(Code::kDeadline, "waiting for key " + key + ": nobody set it in time");
    }
    changed_.wait_until(mutex_, deadline);
  }
}

}  // namespace muster
