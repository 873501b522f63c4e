// What a rank has to report, merged until it may be sent.
//
// Only the newest counts, so calls that come too fast for the link cost nothing there: a burst of
// 256 packets, then 1,000 a second.  Pure: the clock's microseconds come in; one thread at a time.
#pragma once

#include <stdint.h>

#include "runtime/client/codec.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct muster_reporter {
  muster_report latest;  // What the next packet says; comm_us and phase_us since the last one.
  int pending;           // It differs from what was sent.
  uint64_t entered_us;   // When the phase began.
  uint64_t budget_us;    // In time: a packet costs 1,000 of it.
  uint64_t counted_us;   // Up to when the budget was filled.
} muster_reporter;

void muster_reporter_begin(muster_reporter* reporter, uint64_t now_us);
void muster_reporter_progress(muster_reporter* reporter, uint64_t step, double loss,
                              uint64_t tokens, uint64_t now_us);
void muster_reporter_phase(muster_reporter* reporter, int phase, uint64_t now_us);

// Whether a packet may leave now.
int muster_reporter_due(muster_reporter* reporter, uint64_t now_us);
// The packet that should leave, with the time so far in the phase that still goes on.
muster_report muster_reporter_take(muster_reporter* reporter, uint64_t now_us);
// It left.
void muster_reporter_sent(muster_reporter* reporter);

#ifdef __cplusplus
}
#endif
