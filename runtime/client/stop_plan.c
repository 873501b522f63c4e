#include "runtime/client/stop_plan.h"

#include <string.h>

enum { AGREE_US = 1000000, UNLED_US = 5000000 };

static uint64_t Least(uint64_t a, uint64_t b) {
  return a < b ? a : b;
}

void muster_stop_begin(muster_stop_plan* plan, int rank, int world_size) {
  memset(plan, 0, sizeof *plan);
  plan->decides = rank == 0;
  plan->alone = world_size <= 1;
}

void muster_stop_asked(muster_stop_plan* plan, uint32_t grace_ms, uint64_t now_us) {
  if (plan->asked) return;
  plan->asked = 1;
  plan->asked_us = now_us;
  plan->grace_ms = grace_ms;
}

void muster_stop_learned(muster_stop_plan* plan, uint64_t last) {
  plan->last = last > 0 ? last : 1;
}

// The calls from now until all stop.
static uint64_t Ahead(const muster_stop_plan* plan) {
  const uint64_t grace_us = (uint64_t)plan->grace_ms * 1000;
  const uint64_t pace = plan->interval_us;
  if (pace == 0) return 1;  // The first call.
  const uint64_t calls = (Least(AGREE_US, grace_us / 8) + pace - 1) / pace;
  const uint64_t ahead = calls > 0 ? calls : 1;
  // Steps so long that half the grace would be gone: what can be saved is to be saved now.
  return ahead * pace > grace_us / 2 ? 0 : ahead;
}

static void CountCall(muster_stop_plan* plan, uint64_t now_us) {
  if (plan->calls > 0 && now_us > plan->called_us) {
    const uint64_t interval = now_us - plan->called_us;
    plan->interval_us =
        plan->interval_us == 0 ? interval : (plan->interval_us * 7 + interval + 7) / 8;
  }
  plan->called_us = now_us;
  ++plan->calls;
}

int muster_stop_reached(const muster_stop_plan* plan) {
  return plan->asked && plan->last > 0 && plan->calls >= plan->last;
}

enum muster_stop_act muster_stop_call(muster_stop_plan* plan, uint64_t now_us) {
  CountCall(plan, now_us);
  if (!plan->asked) return MUSTER_GO_ON;
  if (plan->alone || muster_stop_reached(plan)) return MUSTER_STOP_NOW;
  if (!plan->told) {
    plan->told = 1;
    if (!plan->decides) return plan->last > 0 ? MUSTER_GO_ON : MUSTER_GET_LAST;
    plan->last = plan->calls + Ahead(plan);
    return MUSTER_SET_LAST;
  }
  const uint64_t grace_us = (uint64_t)plan->grace_ms * 1000;
  const uint64_t patience_us = plan->last > 0 ? grace_us / 4 * 3 : Least(grace_us / 4, UNLED_US);
  return now_us - plan->asked_us >= patience_us ? MUSTER_STOP_NOW : MUSTER_GO_ON;
}
