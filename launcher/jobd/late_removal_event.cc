#include "launcher/jobd/late_removal_event.h"

#include "runtime/base/check.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

// A restart has its ranks forked by then.
constexpr timeval kLater{.tv_sec = 0, .tv_usec = 200000};

}  // namespace

LateRemoval::LateRemoval(event_base* base) : time_(evtimer_new(base, OnTime, this)) {
  CHECK(time_ != nullptr);
}

LateRemoval::~LateRemoval() {
  RemoveAll();
  event_free(time_);
}

void LateRemoval::Add(const std::string& folder) {
  folders_.push_back(folder);
  evtimer_add(time_, &kLater);
}

void LateRemoval::RemoveAll() {
  for (const std::string& folder : folders_) {
    const Status removed = RemoveTree(folder);
    if (!removed.ok()) Log(LogLevel::kWarning, removed.message());
  }
  folders_.clear();
}

void LateRemoval::OnTime(evutil_socket_t, short, void* self) {
  static_cast<LateRemoval*>(self)->RemoveAll();
}

}  // namespace muster
