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

namespace {

// Of all that this daemon's fence hangs on the oldest; nothing: it has no peers yet.
std::optional<std::int64_t> OldestProof(const JobdState& state) {
  std::optional<std::int64_t> oldest;
  if (state.head_connected) oldest = state.proven;
  for (const auto& [index, follower] : state.followers) {
    if (follower.connected) oldest = std::min(oldest.value_or(follower.vouched), follower.vouched);
  }
  return oldest;
}

Duration PartOfFence(const JobdState& state, int parts) {
  return Duration(std::chrono::milliseconds(state.order->fence_ms)) / parts;
}

}  // namespace

void NoteStall(JobdState& state, TimePoint now) {
  const auto proof = OldestProof(state);
  if (!Vouches(state) || !proof) return state.stalls.reset();
  if (!state.stalls) state.stalls.emplace(PartOfFence(state, kBeatsPerFence));
  if (!state.stalls->Look(now) || *proof <= state.forgiven) return;
  state.forgiven = *proof;
  state.forgiven_until = now + PartOfFence(state, kForgivenPerFence);
}

bool Expired(const JobdState& state, std::int64_t proven, TimePoint now) {
  return now >= FenceAt(state, proven) && now >= state.forgiven_until;
}

Follower* TakeVouch(JobdState& state, std::uint32_t from, std::int64_t stamp, std::int64_t echo) {
  const auto found = state.followers.find(from);
  if (found == state.followers.end() || !found->second.connected) return nullptr;
  Follower& follower = found->second;
  follower.last_stamp = std::max(follower.last_stamp, stamp);
  follower.vouched = std::max(follower.vouched, echo);
  return &follower;
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
  if (state.stalls) next = std::min(next, state.stalls->next());
  if (const auto proof = OldestProof(state)) {
    next = std::min(next, std::max(FenceAt(state, *proof), state.forgiven_until));
    if (!state.followers.empty()) next = std::min(next, state.next_beat);
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
