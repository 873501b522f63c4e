#include "runtime/client/saves.h"

#include <stdio.h>
#include <string.h>

void muster_saves_begin(muster_saves* saves) {
  memset(saves, 0, sizeof *saves);
  saves->committed = -1;
}

static int Forget(muster_saves* saves, uint64_t step) {
  for (size_t i = 0; i < saves->count; ++i) {
    if (saves->under_way[i] != step) continue;
    --saves->count;
    memmove(&saves->under_way[i], &saves->under_way[i + 1],
            (saves->count - i) * sizeof saves->under_way[0]);
    return 1;
  }
  return 0;
}

void muster_saves_staged(muster_saves* saves, uint64_t step) {
  if (saves->count == MUSTER_SAVES_MAX) Forget(saves, saves->under_way[0]);
  saves->under_way[saves->count++] = step;
}

void muster_saves_failed(muster_saves* saves, uint64_t step, muster_text why) {
  Forget(saves, step);
  saves->failed = 1;
  saves->failed_step = step;
  snprintf(saves->why, sizeof saves->why, "step %llu was not saved: %.*s", (unsigned long long)step,
           why.size > 900 ? 900 : (int)why.size, why.data);
}

void muster_saves_loaded(muster_saves* saves) {
  saves->failed_step = 0;
}

void muster_saves_heard(muster_saves* saves, const muster_saved* saved) {
  // Local: its memory is free, and it is no commit yet.
  if (saved->local) return;
  if (saved->error.size > 0) {
    // One that was given up before it was staged has been told.
    if (Forget(saves, saved->step)) muster_saves_failed(saves, saved->step, saved->error);
    return;
  }
  Forget(saves, saved->step);
  if (saved->step > saves->failed_step) saves->failed = 0;
  if (saves->committed < (int64_t)saved->step) saves->committed = (int64_t)saved->step;
}
