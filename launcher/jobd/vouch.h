// The arithmetic of the keep-alives between job daemons; peer.h says how they work.
//
// Pure; any thread.
#pragma once

#include "launcher/jobd/jobd.h"

namespace muster {

// Between the order and the last word about the attempt.
bool Active(MemberPhase phase);

// In the attempt, and means to stay.  Once that is false it never is true for the attempt again.
bool Vouches(const JobdState& state);

std::int64_t Nanoseconds(TimePoint at);

// When the ranks must be killed if nothing proves more than `proven`, in this host's time.
TimePoint FenceAt(const JobdState& state, std::int64_t proven);

// How long ago the most silent follower but one vouched, by the head's clock.
std::int64_t VouchAge(const JobdState& state, std::uint32_t except, TimePoint now);
// Its index; 0: there is no other.
std::uint32_t MostSilent(const JobdState& state, std::uint32_t except);

// Which peer's silence a follower is fenced for: the head's own, or, if the head was heard of
// lately, that of the follower it could not vouch for.
std::uint32_t Missed(const JobdState& state);

}  // namespace muster
