// What can be read off an attempt: who is over, who vouches no more, how it is to be stopped.
//
// Pure; any thread.
#pragma once

#include "launcher/coordinator/decide.h"

namespace muster {

// The coordinator's only member on that node, or null.
const Member* FindMember(const Job& job, const NodeName& node);

// The member on whose node the rank is, or null: there is no such rank.
const Member* MemberOf(const Attempt& attempt, std::uint32_t rank);
std::uint32_t WorldSize(const Attempt& attempt);

// No rank of the attempt is alive there, and none will be forked.
bool Over(const Member& member);
bool AllOver(const Attempt& attempt);

// From now on no other member can have a proof that this one is in the attempt (D13).
bool VouchesNoMore(const Member& member);

// A member only ever goes forward; that is not the order of the enumerators.
int Progress(MemberPhase phase);

// All ranks left well and none of them because it was asked to.
bool WentWell(const Attempt& attempt);

// Whether `newer` says more about why the attempt failed than `known`, which came first.
bool Explains(const Job& job, const Cause& newer, const Cause& known);

// How long ranks have after they are asked; 0: they are killed.
std::uint32_t StopGrace(const Job& job);

// When members on lost nodes are taken for dead; max() while nothing says that they stop.
TimePoint FenceDeadline(const Attempt& attempt, const Limits& limits);
TimePoint TimeLimit(const Job& job);

// What becomes of a job whose attempt is over.
struct Verdict {
  bool again = false;
  Outcome outcome = Outcome::kNone;
  std::int32_t exit_code = 0;
  Cause cause;
};
Verdict Judge(const Job& job);

// For people: "rank 3 on n2 was killed by SIGKILL".
std::string Describe(const Cause& cause);

}  // namespace muster
