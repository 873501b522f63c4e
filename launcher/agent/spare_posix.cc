#include "launcher/agent/spare_posix.h"

#include <algorithm>
#include <utility>

#include "runtime/base/log.h"

namespace muster {
namespace {

constexpr Duration kFirstPause = std::chrono::milliseconds(1);
constexpr Duration kLongestPause = std::chrono::milliseconds(50);
constexpr Duration kPatience = std::chrono::seconds(30);
// After one that failed: what is wrong will be said by the next job, not by us again and again.
constexpr Duration kAfterFailure = std::chrono::minutes(1);

}  // namespace

void SpareJobd::Want(const Owner& owner, TimePoint at) {
  owner_ = owner;
  if (life_ && life_->owner == owner) return;
  start_at_ = at;
}

bool SpareJobd::Alive() const {
  return life_ && !Readable(life_->process.pidfd.get());
}

std::optional<SpareJobd::Taken> SpareJobd::Take(const Owner& owner) {
  if (!Alive() || !(life_->owner == owner)) return std::nullopt;
  Taken taken{std::move(life_->process), std::move(life_->link)};
  life_.reset();
  connect_at_ = TimePoint::max();
  return taken;
}

std::vector<int> SpareJobd::Interests() const {
  if (!life_) return {};
  return {life_->process.pidfd.get()};
}

TimePoint SpareJobd::NextDeadline() const {
  return std::min(start_at_, connect_at_);
}

void SpareJobd::Advance(TimePoint now) {
  if (life_ && !Alive()) {
    Log(LogLevel::kWarning, "the spare job daemon ended");
    Remove();
    start_at_ = now + kAfterFailure;
  }
  if (now >= start_at_) Start(now);
  if (now >= connect_at_) Connect(now);
}

void SpareJobd::Start(TimePoint now) {
  start_at_ = TimePoint::max();
  if (life_ && life_->owner == *owner_) return;
  Remove();  // Of another owner.
  Result<JobdProcess> process = StartJobd(host_, *owner_);
  if (!process.ok()) {
    Log(LogLevel::kWarning, "no spare job daemon: " + process.status().message());
    start_at_ = now + kAfterFailure;
    return;
  }
  life_ = Life{.owner = *owner_, .process = *std::move(process), .link = std::nullopt};
  connect_at_ = now;
  give_up_ = now + kPatience;
  pause_ = kFirstPause;
}

// It ends by itself when this connection does: it must stand, even though nothing is said on it.
void SpareJobd::Connect(TimePoint now) {
  const JobdRecord& record = life_->process.record;
  auto link = JobdLink::Connect(host_.paths.DaemonSocket(host_.node, record.id), record.uid);
  if (link.ok()) {
    life_->link.emplace(*std::move(link));
    connect_at_ = TimePoint::max();
  } else if (now >= give_up_) {
    Log(LogLevel::kWarning, "the spare job daemon does not answer: " + link.status().message());
    Remove();
    start_at_ = now + kAfterFailure;
  } else {
    connect_at_ = now + pause_;
    pause_ = std::min(pause_ * 2, kLongestPause);
  }
}

void SpareJobd::Remove() {
  start_at_ = connect_at_ = TimePoint::max();
  if (!life_) return;
  const JobdRecord record = life_->process.record;
  life_.reset();
  RemoveDaemon(host_, {.id = record.id, .record = record});
}

}  // namespace muster
