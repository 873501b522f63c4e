// What a job daemon's decisions are made of: the arithmetic of the keep-alives (peer.h says how
// they work), the state that an attempt begins with, and which failure to report.
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

// Call at the beginning of each Step: sees whether the daemon was not run when it wanted to be.
// Then a proof that looks old by now is forgiven, once, for a fifth of the fence time: two beats,
// in which the others may prove that they are there.
void NoteStall(JobdState& state, TimePoint now);
// Whether the ranks must be killed: the proof is older than the fence time, and not forgiven.
bool Expired(const JobdState& state, std::int64_t proven, TimePoint now);

// A follower proves that it was there at `echo`, by our clock.  Null: it is none, or not connected.
Follower* TakeVouch(JobdState& state, std::uint32_t from, std::int64_t stamp, std::int64_t echo);

// How long ago the most silent follower but one vouched, by the head's clock.
std::int64_t VouchAge(const JobdState& state, std::uint32_t except, TimePoint now);
// Its index; 0: there is no other.
std::uint32_t MostSilent(const JobdState& state, std::uint32_t except);

// Which peer's silence a follower is fenced for: the head's own, or, if the head was heard of
// lately, that of the follower it could not vouch for.
std::uint32_t Missed(const JobdState& state);

// The state in which the daemon begins an attempt; what it keeps is of the job.
JobdState Fresh(const JobdState& old, const StartAttempt& order, TimePoint now);

// What is done after the status was told, because it may take long or must find it on the disk.
bool ComesLate(const JobdEffect& effect);

// A rank's end as a cause, with its rank and slot.
Cause PlacedOn(const Host& host, const RankExited& event);

// A rank had ended by itself before it could be killed, and may explain more than what was told.
void LearnBetter(JobdStatus& status, const Cause& cause);

}  // namespace muster
