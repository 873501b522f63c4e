// The job daemon's decisions: one job on one node, as a pure state machine.
//
// The rim (jobd_event and its neighbours) feeds it events and carries out its effects, in order.
//
// Promises:
//   - it forks the ranks of an attempt only after the head said Go, and the head says Go only when
//     every host is ready: no partial gang ever runs;
//   - it forks an attempt only when no rank of another one is alive here;
//   - it kills its ranks when its proof that all members are in the attempt is older than the fence
//     time (peer.h), and once it left an attempt it never vouches for it again; a daemon that was
//     not run itself gets a little longer, once for a proof (vouch.h);
//   - the coordinator and the agent may be away: nothing here waits for them except the next order.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <variant>
#include <vector>

#include "launcher/jobd/peer.h"
#include "runtime/base/clock.h"
#include "runtime/base/stall.h"

namespace muster {

// ---- what happened ------------------------------------------------------------------------------

struct OrderCame {
  Order order;
};
struct HeadConnected {};  // The connection to the head stands (followers).
struct HeadUnreachable {  // No address of the head answered within the launch time.
  std::string why;
};
struct FollowerConnected {  // Its Hello came.
  std::uint32_t host_index = 0;
  AttemptNumber attempt = 0;  // As in its Hello.
};
struct PeerGone {  // Its connection closed, not by us.  Followers: the head's, index 0.
  std::uint32_t host_index = 0;
  AttemptNumber attempt = 0;  // That the connection was made for.
};
struct PeerSaid {
  std::uint32_t host_index = 0;
  peer::Message message;
};
struct LocalPrepared {  // PMIx knows the ranks; all for the fork is there.  Never after CleanUp.
  Seating seating;
};
struct RankExited {
  std::uint32_t local_rank = 0;
  Cause cause;         // kNone: left with 0.
  bool by_us = false;  // KillRanks ended it.
};
struct LocalFailed {  // PMIx lost, MPI_Abort, a silent singleton, a store that is required.
  Cause cause;
};
struct MoverSettled {};  // After EndJob: nothing is being written any more.
struct TimePassed {};

using JobdEvent =
    std::variant<OrderCame, HeadConnected, HeadUnreachable, FollowerConnected, PeerGone, PeerSaid,
                 LocalPrepared, RankExited, LocalFailed, MoverSettled, TimePassed>;

// ---- what must be done --------------------------------------------------------------------------

struct ConnectToHead {     // For the current attempt; replaces any earlier connection, without
                           // PeerGone.
  std::uint16_t port = 0;  // At the addresses of hosts[0].
};
struct PrepareRanks {
};  // Register the attempt with a PMIx server, make folders; then LocalPrepared.
struct ForkRanks {};
// Link Stop, and SIGTERM but for a rank that would only die of it: one that has heard the Stop and
// handles no SIGTERM.
struct AskRanks {
  std::uint32_t grace_ms = 0;
};
struct SignalAll {
  std::int32_t signal = 0;
  std::int32_t rank = -1;  // Of the job; -1: all of them.
};
struct KillRanks {
};                // SIGKILL to all of the attempt, descendants too; RankExited follows for each.
struct CleanUp {  // The attempt left nothing alive: drop its PMIx server, folders and shm files.
  AttemptNumber attempt = 0;
};
struct SendPeer {
  std::uint32_t host_index = 0;
  peer::Message message;
};
struct TellAgent {};    // Write the status file (D3), then send the status: it changed.
struct SettleMover {};  // Finish what is being written, then MoverSettled.
struct EndProcess {};

using JobdEffect = std::variant<ConnectToHead, PrepareRanks, ForkRanks, AskRanks, SignalAll,
                                KillRanks, CleanUp, SendPeer, TellAgent, SettleMover, EndProcess>;

// ---- state --------------------------------------------------------------------------------------

struct Follower {
  bool connected = false;
  bool ready = false;
  bool finished = false;
  std::int64_t vouched = 0;     // Head time that its last BeatBack proves; 0: none yet.
  std::int64_t last_stamp = 0;  // Its newest stamp, to be echoed.
  bool operator==(const Follower&) const = default;
};

// The rim makes it with job, instance and port of `status` set: a jobd listens all its life.
struct JobdState {
  JobdStatus status;
  std::optional<StartAttempt> order;    // The current or last attempt.
  std::optional<StartAttempt> next;     // Came while ranks of the old attempt were alive.
  std::optional<MeetHead> next_meet;    // For `next`.
  AttemptNumber refused = 0;            // Attempts below this were stopped before they began here.
  std::map<std::uint32_t, bool> ranks;  // Local rank -> alive.
  bool prepared = false;
  // As head.
  std::map<std::uint32_t, Follower> followers;
  // As follower.
  bool head_connected = false;
  std::uint16_t head_port = 0;   // Being connected to, or connected; 0: neither.
  std::int64_t head_stamp = 0;   // The head's newest stamp, to be echoed.
  std::int64_t proven = 0;       // Own time at which all members are known to have been in it.
  std::int64_t head_proven = 0;  // The same of the head alone.
  std::uint32_t silent = 0;      // Of the head's last beat.
  std::optional<TimePoint> kill_at;
  bool asked = false;  // AskRanks: how a rank leaves from now on is no failure.
  // A rank left and blamed a peer: the peer's own end explains it, and may take a while to be seen.
  std::optional<Cause> suspect;
  TimePoint suspect_until;
  TimePoint next_beat;
  std::optional<StallWatch> stalls;  // While there are peers.
  TimePoint forgiven_until;
  std::int64_t forgiven = 0;  // The newest proof that was forgiven for.
  bool ending = false;
  bool operator==(const JobdState&) const = default;
};

inline constexpr int kBeatsPerFence = 10;
// Of the fence time: what a daemon that was not run gets beyond it, once for a proof.
inline constexpr int kForgivenPerFence = 5;
// How long a rank that blames a peer is not yet the cause.
inline constexpr Duration kSuspectFor = std::chrono::seconds(1);

std::vector<JobdEffect> Step(JobdState& state, const JobdEvent& event, TimePoint now);

// When Step wants the next TimePassed at the latest; TimePoint::max() for never.
TimePoint NextDeadline(const JobdState& state);

}  // namespace muster
