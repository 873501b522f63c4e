#include "launcher/jobd/vouch.h"

#include <algorithm>

#include "runtime/base/cause.h"

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
  if (state.suspect) next = std::min(next, state.suspect_until);
  if (state.head_connected) next = std::min(next, FenceAt(state, state.proven));
  for (const auto& [index, follower] : state.followers) {
    if (!follower.connected) continue;
    next = std::min({next, FenceAt(state, follower.vouched), state.next_beat});
  }
  return next;
}

JobdState Fresh(const JobdState& old, const StartAttempt& order, TimePoint now) {
  JobdState state;
  state.status = {.job = old.status.job,
                  .instance = old.status.instance,
                  .attempt = order.attempt,
                  .phase = MemberPhase::kStarting,
                  .port = old.status.port};
  state.order = order;
  state.refused = old.refused;
  state.next_beat = now;
  if (order.host_index == 0) {
    for (std::uint32_t i = 1; i < order.hosts.size(); ++i) state.followers[i] = {};
  }
  return state;
}

bool ComesLate(const JobdEffect& effect) {
  return std::holds_alternative<ConnectToHead>(effect) ||
         std::holds_alternative<PrepareRanks>(effect) || std::holds_alternative<CleanUp>(effect) ||
         std::holds_alternative<SettleMover>(effect) || std::holds_alternative<EndProcess>(effect);
}

Cause PlacedOn(const Host& host, const RankExited& event) {
  Cause cause = event.cause;
  if (cause.rank < 0) cause.rank = static_cast<std::int32_t>(host.first_rank + event.local_rank);
  cause.slot = host.slots[event.local_rank];
  return cause;
}

// What a lost peer explains, an exit code does not.
void LearnBetter(JobdStatus& status, const Cause& cause) {
  const bool may_follow =
      status.cause.kind == CauseKind::kPeerLost && cause.kind == CauseKind::kExit;
  if (!may_follow && Strength(cause) > Strength(status.cause)) status.cause = cause;
}

}  // namespace muster
