#include "runtime/client/reporter.h"

#include <math.h>
#include <string.h>

#include "runtime/client/muster_client.h"

enum { COST_US = 1000, BURST = 256 };

void muster_reporter_begin(muster_reporter* reporter, uint64_t now_us) {
  memset(reporter, 0, sizeof *reporter);
  reporter->latest.loss = MUSTER_NO_LOSS;
  reporter->latest.note.data = "";
  reporter->entered_us = now_us;
  reporter->counted_us = now_us;
  reporter->budget_us = (uint64_t)COST_US * BURST;
}

static void CountPhase(muster_reporter* reporter, uint64_t now_us) {
  muster_report* latest = &reporter->latest;
  const uint64_t spent = now_us > reporter->entered_us ? now_us - reporter->entered_us : 0;
  latest->phase_us[latest->phase] += spent;
  latest->comm_us = latest->phase_us[MUSTER_PHASE_COMM];
  reporter->entered_us = now_us;
}

void muster_reporter_phase(muster_reporter* reporter, int phase, uint64_t now_us) {
  if (phase == reporter->latest.phase) return;
  CountPhase(reporter, now_us);
  reporter->latest.phase = phase;
  reporter->pending = 1;
}

void muster_reporter_progress(muster_reporter* reporter, uint64_t step, double loss,
                              uint64_t tokens, uint64_t now_us) {
  muster_report* latest = &reporter->latest;
  latest->step = step;
  if (!(isinf(loss) && loss < 0)) latest->loss = loss;
  if (tokens > 0) latest->tokens = tokens;
  // A loop that names no phases trains.
  if (latest->phase < MUSTER_PHASE_TRAINING) {
    muster_reporter_phase(reporter, MUSTER_PHASE_TRAINING, now_us);
  }
  reporter->pending = 1;
}

int muster_reporter_due(muster_reporter* reporter, uint64_t now_us) {
  const uint64_t full = (uint64_t)COST_US * BURST;
  if (now_us > reporter->counted_us) {
    reporter->budget_us += now_us - reporter->counted_us;
    if (reporter->budget_us > full) reporter->budget_us = full;
    reporter->counted_us = now_us;
  }
  return reporter->pending && reporter->budget_us >= COST_US;
}

muster_report muster_reporter_take(muster_reporter* reporter, uint64_t now_us) {
  CountPhase(reporter, now_us);
  return reporter->latest;
}

void muster_reporter_sent(muster_reporter* reporter) {
  reporter->pending = 0;
  reporter->latest.comm_us = 0;
  memset(reporter->latest.phase_us, 0, sizeof reporter->latest.phase_us);
  reporter->budget_us -= reporter->budget_us < COST_US ? reporter->budget_us : COST_US;
}
