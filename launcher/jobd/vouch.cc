#include "launcher/jobd/vouch.h"

#include <algorithm>

namespace muster {

bool Active(MemberPhase phase) {
  return phase >= MemberPhase::kStarting && phase <= MemberPhase::kStopping;
}

bool Vouches(const JobdState& state) {
  return Active(state.status.phase) && state.status.cause.kind == CauseKind::kNone;
}

std::int64_t Nanoseconds(TimePoint at) {
  return at.time_since_epoch().count();
}

TimePoint FenceAt(const JobdState& state, std::int64_t proven) {
  return TimePoint(Duration(proven)) + std::chrono::milliseconds(state.order->fence_ms);
}

std::int64_t VouchAge(const JobdState& state, std::uint32_t except, TimePoint now) {
  std::int64_t age = 0;
  for (const auto& [index, follower] : state.followers) {
    if (index == except || !follower.connected) continue;
    age = std::max(age, Nanoseconds(now) - follower.vouched);
  }
  return age;
}

std::uint32_t MostSilent(const JobdState& state, std::uint32_t except) {
  std::uint32_t silent = 0;
  for (const auto& [index, follower] : state.followers) {
    if (index == except || !follower.connected) continue;
    if (silent == 0 || follower.vouched < state.followers.at(silent).vouched) silent = index;
  }
  return silent;
}

std::uint32_t Missed(const JobdState& state) {
  const auto half = std::chrono::nanoseconds(std::chrono::milliseconds(state.order->fence_ms)) / 2;
  const bool head_lives = state.head_proven - state.proven > half.count();
  return head_lives && state.silent < state.order->hosts.size() ? state.silent : 0;
}

TimePoint NextDeadline(const JobdState& state) {
  TimePoint next = TimePoint::max();
  if (!Vouches(state)) return next;
  if (state.kill_at) next = *state.kill_at;
  if (state.head_connected) next = std::min(next, FenceAt(state, state.proven));
  for (const auto& [index, follower] : state.followers) {
    if (!follower.connected) continue;
    next = std::min({next, FenceAt(state, follower.vouched), state.next_beat});
  }
  return next;
}

}  // namespace muster
