#include "launcher/jobd/mpi_watch_event.h"

#include <algorithm>
#include <string>
#include <vector>

#include "runtime/base/containment_posix.h"
#include "runtime/base/file_posix.h"

namespace muster {
namespace {

using std::chrono::milliseconds;

constexpr Duration kGrace = std::chrono::seconds(3);
constexpr Duration kFirst = milliseconds(30);
constexpr Duration kLast = std::chrono::seconds(30);
// From here on a rank's children are looked at too: it may be a script around the program.
constexpr Duration kWithChildren = milliseconds(400);

bool InMpi(pid_t pid) {
  const Result<std::string> maps = ReadFile("/proc/" + std::to_string(pid) + "/maps");
  return maps.ok() && maps->find("/libmpi.so") != std::string::npos &&
         maps->find("/mca_") != std::string::npos;
}

timeval Interval(Duration length) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(length).count();
  return {.tv_sec = micros / 1000000, .tv_usec = micros % 1000000};
}

}  // namespace

MpiWatch::MpiWatch(event_base* base, Alone alone)
    : alone_(std::move(alone)), look_(evtimer_new(base, OnLook, this)) {
  CHECK(look_ != nullptr);
}

MpiWatch::~MpiWatch() {
  event_free(look_);
}

void MpiWatch::Begin(const std::map<std::uint32_t, pid_t>& ranks) {
  End();
  for (const auto& [local_rank, pid] : ranks) ranks_[local_rank] = {.pid = pid};
  interval_ = kFirst;
  const timeval wait = Interval(interval_);
  evtimer_add(look_, &wait);
}

void MpiWatch::OnLook(evutil_socket_t, short, void* self) {
  static_cast<MpiWatch*>(self)->Look();
}

void MpiWatch::Look() {
  const TimePoint now = RealClock().Now();
  std::vector<std::uint32_t> alone;
  for (auto& [local_rank, rank] : ranks_) {
    if (!rank.in_mpi) {
      bool in_mpi = InMpi(rank.pid);
      if (!in_mpi && interval_ >= kWithChildren) {
        const std::vector<pid_t> children = Descendants(rank.pid);
        in_mpi = std::any_of(children.begin(), children.end(), InMpi);
      }
      if (in_mpi) rank.in_mpi = now;
    } else if (now - *rank.in_mpi >= kGrace) {
      alone.push_back(local_rank);
    }
  }
  const bool waiting = std::any_of(ranks_.begin(), ranks_.end(),
                                   [](const auto& item) { return item.second.in_mpi.has_value(); });
  interval_ = waiting ? std::min(interval_ * 2, kGrace / 3) : std::min(interval_ * 2, kLast);
  const timeval wait = Interval(interval_);
  if (!ranks_.empty()) evtimer_add(look_, &wait);
  for (const std::uint32_t local_rank : alone) {
    if (ranks_.erase(local_rank) > 0) alone_(local_rank);
  }
}

bool MpiWatch::Exited(std::uint32_t local_rank) {
  const auto found = ranks_.find(local_rank);
  if (found == ranks_.end()) return false;
  const bool was_in_mpi = found->second.in_mpi.has_value();
  ranks_.erase(found);
  return was_in_mpi;
}

void MpiWatch::End() {
  ranks_.clear();
  event_del(look_);
}

}  // namespace muster
