// At which call of muster_should_stop all ranks are told to stop.
//
// A rank that leaves a step earlier than its peers leaves them in a collective that never ends. So:
//   1. Every rank hears Stop from its job daemon, at slightly different times.
//   2. Rank 0, at its next call, number c, chooses call c + k and sets it as a key for all; k calls
//      take about a second by its own pace, at least one call, so the key arrives before it counts.
//   3. The others ask for that key as soon as they hear Stop, and go on until its call.
// Whoever learns too late, or never (ranks that do not run in step), stops at once or after a part
// of the grace.  Pure: the clock's microseconds come in; one thread at a time.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct muster_stop_plan {
  int alone;             // World size 1.
  int decides;           // Rank 0.
  uint64_t calls;        // So far.
  uint64_t called_us;    // The last one.
  uint64_t interval_us;  // Between calls, a moving mean; 0 until there were two.
  int asked;
  uint64_t asked_us;
  uint32_t grace_ms;
  int told;       // Step 2 or 3 was done.
  uint64_t last;  // The call at which to stop; 0 until it is known.
} muster_stop_plan;

enum muster_stop_act {
  MUSTER_GO_ON,
  MUSTER_SET_LAST,  // Set the key to `last`, then do what muster_stop_reached says.
  MUSTER_GET_LAST,  // Ask for the key and wait a moment; then what muster_stop_reached says.
  MUSTER_STOP_NOW
};

void muster_stop_begin(muster_stop_plan* plan, int rank, int world_size);
void muster_stop_asked(muster_stop_plan* plan, uint32_t grace_ms, uint64_t now_us);
void muster_stop_learned(muster_stop_plan* plan, uint64_t last);

// One call of muster_should_stop.
enum muster_stop_act muster_stop_call(muster_stop_plan* plan, uint64_t now_us);
// Whether this call is the last.
int muster_stop_reached(const muster_stop_plan* plan);

#ifdef __cplusplus
}
#endif
