// What the job daemons of one job say to each other, over TLS with the job's key.
//
// A star: hosts[0] of the attempt is the head, every other host makes one connection to it for the
// attempt (the hosts, and so the indexes, may differ in the next one).  Every message carries its
// attempt; a receiver that is in another one drops it.  Frames are a 32-bit little-endian length
// and an EncodeVariant() body (wire.h).
//
// Keep-alives are leases (D13).  The numbers are monotonic nanoseconds of the sender's host, and a
// host only ever compares its own: `echo` gives back the newest stamp that the other side sent.
//   1. The head sends Beat{stamp} to every follower each beat interval.
//   2. A follower that is still in the attempt answers BeatBack{its own stamp, echo = the head's}.
//      So the head knows: this follower was in the attempt at head time `echo` or later.
//   3. The head's next Beat says echo = the follower's stamp and vouch_age = how long ago, by the
//      head's clock, the most silent follower last vouched.  So the follower knows: all members
//      were in the attempt at its own time (echo - vouch_age) or later.
//   4. Whoever's proof is older than `fence` kills its ranks and leaves, coordinator or not.
// A member that left never answers for that attempt again, so once a member has left, every other
// one is fenced `fence` later at the latest, whatever the network does.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "runtime/base/statuses.h"

namespace muster::peer {

// First message of a connection, follower to head.
struct Hello {
  JobId job = 0;
  Instance instance = 0;
  std::uint32_t host_index = 0;
  AttemptNumber attempt = 0;
  template <typename A>
  void Fields(A& a) {
    a(job, instance, host_index, attempt);
  }
};

// Follower to head: prepared to fork this attempt's ranks.
struct Ready {
  AttemptNumber attempt = 0;
  std::int64_t stamp = 0, echo = 0;
  template <typename A>
  void Fields(A& a) {
    a(attempt, stamp, echo);
  }
};

struct Beat {
  AttemptNumber attempt = 0;
  std::int64_t stamp = 0, echo = 0, vouch_age = 0;
  std::uint32_t silent = 0;  // The follower that vouch_age speaks of; 0: none.
  template <typename A>
  void Fields(A& a) {
    a(attempt, stamp, echo, vouch_age, silent);
  }
};

struct BeatBack {
  AttemptNumber attempt = 0;
  std::int64_t stamp = 0, echo = 0;
  template <typename A>
  void Fields(A& a) {
    a(attempt, stamp, echo);
  }
};

// Head to followers: every host is ready, fork.  Proof as in Beat; a follower for whom it is too
// old does not fork.
struct Go {
  AttemptNumber attempt = 0;
  std::int64_t stamp = 0, echo = 0, vouch_age = 0;
  template <typename A>
  void Fields(A& a) {
    a(attempt, stamp, echo, vouch_age);
  }
};

// Follower to head: the first failure here.
struct Failed {
  AttemptNumber attempt = 0;
  Cause cause;
  template <typename A>
  void Fields(A& a) {
    a(attempt, cause);
  }
};

// Follower to head: every local rank left well (or as it was asked to).
struct Finished {
  AttemptNumber attempt = 0;
  bool asked_to_stop = false;
  template <typename A>
  void Fields(A& a) {
    a(attempt, asked_to_stop);
  }
};

// Head to followers: the attempt is over; with a cause kill at once, without one all finished.
struct Over {
  AttemptNumber attempt = 0;
  Cause cause;
  bool asked_to_stop = false;  // Some ranks were.
  template <typename A>
  void Fields(A& a) {
    a(attempt, cause, asked_to_stop);
  }
};

// ---- relays: the rim's, the core does not look at them
// --------------------------------------------

// A PMIx fence: the head concatenates the blobs of `hosts` hosts and sends the whole to each.
struct FenceUp {
  AttemptNumber attempt = 0;
  std::string key;
  std::uint32_t hosts = 0;
  std::string blob;
  template <typename A>
  void Fields(A& a) {
    a(attempt, key, hosts, blob);
  }
};
struct FenceDown {
  AttemptNumber attempt = 0;
  std::string key, blob;
  template <typename A>
  void Fields(A& a) {
    a(attempt, key, blob);
  }
};

// A key that a rank set; the head tells everyone.
struct KvUpdate {
  AttemptNumber attempt = 0;
  std::string key, value;
  template <typename A>
  void Fields(A& a) {
    a(attempt, key, value);
  }
};

// A message between movers of one checkpoint, opaque here (runtime/base/mover.h).
struct ForMover {
  AttemptNumber attempt = 0;
  std::string body;
  template <typename A>
  void Fields(A& a) {
    a(attempt, body);
  }
};

using Message = std::variant<Hello, Ready, Beat, BeatBack, Go, Failed, Finished, Over, FenceUp,
                             FenceDown, KvUpdate, ForMover>;

}  // namespace muster::peer
