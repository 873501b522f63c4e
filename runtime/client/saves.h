// What became of this process's saves.  Pure; one thread at a time.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "runtime/client/checkpoint_codec.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MUSTER_SAVES_MAX = 16, MUSTER_SENTENCE_MAX = 1024 };

typedef struct muster_saves {
  uint64_t under_way[MUSTER_SAVES_MAX];  // Steps, the oldest first.
  size_t count;
  int64_t committed;  // The newest; -1: none.
  int failed;         // And nothing newer is committed.
  uint64_t failed_step;
  char why[MUSTER_SENTENCE_MAX];
} muster_saves;

void muster_saves_begin(muster_saves* saves);
// The part is staged.  Beyond MUSTER_SAVES_MAX, the oldest is forgotten.
void muster_saves_staged(muster_saves* saves, uint64_t step);
// This step will not be saved.
void muster_saves_failed(muster_saves* saves, uint64_t step, muster_text why);
// An older state was loaded: the steps after it come again, and a save of any of them is newer than
// what failed before.
void muster_saves_loaded(muster_saves* saves);
void muster_saves_heard(muster_saves* saves, const muster_saved* saved);

#ifdef __cplusplus
}
#endif
