/* Saves and loads in C: something that all ranks have, a scalar, and something of which each rank
 * has its rows.  checkpoint_test.py reads what it prints.
 *
 * usage: checkpoint_rank STEPS FOLDER: saves every second step.  The first attempt waits after step
 * 4 until FOLDER/go is there; then its last rank dies in the middle of a save.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/client/muster_checkpoint.h"

enum { ROWS = 12, COLUMNS = 7, PATIENCE_MS = 60000 };

static float weights[ROWS][COLUMNS];
static int64_t epoch;
static unsigned char own[ROWS][3];
static uint64_t first_row, rows;

/* What a step makes of everything: the same on any number of ranks. */
static void Compute(uint64_t step) {
  for (uint64_t r = 0; r < ROWS; ++r) {
    for (uint64_t c = 0; c < COLUMNS; ++c) weights[r][c] = (float)(step * 1000 + r * COLUMNS + c);
  }
  epoch = (int64_t)step * -3;
  for (uint64_t r = 0; r < rows; ++r) {
    for (uint64_t c = 0; c < 3; ++c)
      own[r][c] = (unsigned char)(step * 31 + (first_row + r) * 3 + c);
  }
}

static int Fail(const char* what) {
  printf("%s: %s\n", what, muster_error());
  return 1;
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const uint64_t steps = strtoull(argv[1], NULL, 10);
  const uint64_t rank = (uint64_t)muster_rank(), world = (uint64_t)muster_world_size();
  first_row = ROWS * rank / world;
  rows = ROWS * (rank + 1) / world - first_row;
  const uint64_t shape[] = {ROWS, COLUMNS};
  const uint64_t own_shape[] = {rows, 3}, own_offset[] = {first_row, 0}, own_global[] = {ROWS, 3};
  const muster_tensor tensors[] = {
      {"weights", "F32", 2, shape, NULL, NULL, weights},
      {"epoch", "I64", 0, NULL, NULL, NULL, &epoch},
      {"own", "U8", 2, own_shape, own_offset, own_global, own},
  };
  const size_t count = sizeof tensors / sizeof tensors[0];

  uint64_t step = 0;
  muster_checkpoint* newest;
  int status = muster_load_into(tensors, count, &newest, PATIENCE_MS);
  if (status == MUSTER_OK) {
    float was[ROWS][COLUMNS];
    unsigned char owned[ROWS][3];
    const int64_t then = epoch;
    memcpy(was, weights, sizeof was);
    memcpy(owned, own, sizeof owned);
    step = newest->step;
    Compute(step);
    const int right = memcmp(was, weights, sizeof was) == 0 && then == epoch &&
                      memcmp(owned, own, rows * 3) == 0 &&
                      strcmp(newest->metadata, "{\"seed\": 5}") == 0 && newest->count == count;
    printf("%llu ranks loaded step %llu %s\n", (unsigned long long)world, (unsigned long long)step,
           right ? "right" : "WRONG");
    muster_close_checkpoint(newest);
  } else if (status == MUSTER_NONE) {
    printf("%s\n", muster_error());
  } else {
    return Fail("not loaded");
  }
  fflush(stdout);

  while (step < steps) {
    Compute(++step);
    if (step % 2 == 0 && muster_save(step, tensors, count, "{\"seed\": 5}", PATIENCE_MS) != 0) {
      return Fail("not saved");
    }
    muster_progress(step, 1, 0);
    if (step == 4 && muster_attempt() == 0) {
      int64_t committed = -2;
      char go[512];
      if (muster_wait_saved(&committed, PATIENCE_MS) != MUSTER_OK) return Fail("not committed");
      printf("committed step %lld\n", (long long)committed);
      fflush(stdout);
      snprintf(go, sizeof go, "%s/go", argv[2]);
      while (access(go, F_OK) != 0) usleep(10000);
      Compute(++step);
      if (rank == world - 1) {
        const muster_piece* pieces;
        size_t n;
        status = muster_save_begin(step, tensors, count, "{}", PATIENCE_MS, &pieces, &n);
        return status == 0 ? 9 : Fail("not begun");
      }
      if (muster_save(step, tensors, count, "{}", PATIENCE_MS) != 0) return Fail("not saved");
      pause();
    }
  }
  return 0; /* The last save is committed before the process is gone. */
}
