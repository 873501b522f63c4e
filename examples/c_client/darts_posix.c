/* Pi, with darts, in C over muster alone: no MPI.  Shows the whole of libmuster_client in one
 * screen.
 *
 *   muster run -N 2 --ranks-per-node 2 -- ./darts 40
 *
 * Dart i is the same on any number of ranks, and so is the sum.  Cancelled, it says what it has.
 */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "runtime/client/muster_client.h"

#define DARTS_A_STEP 1000000u

/* Number i of the sequence "splitmix64" (Steele, Lea, Flood 2014). */
static uint64_t Random(uint64_t i) {
  uint64_t z = (i + 1) * 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

static int Hits(uint64_t dart) {
  const double x = (double)(Random(2 * dart) >> 11) * 0x1p-53;
  const double y = (double)(Random(2 * dart + 1) >> 11) * 0x1p-53;
  return x * x + y * y < 1;
}

int main(int argc, char** argv) {
  const uint64_t steps = argc > 1 ? strtoull(argv[1], NULL, 10) : 20;
  const uint64_t rank = (uint64_t)muster_rank(), ranks = (uint64_t)muster_world_size();
  uint64_t mine = 0, step = 0, thrown = 0;
  for (; step < steps && !muster_should_stop(); ++step) {
    for (uint64_t i = rank; i < DARTS_A_STEP; i += ranks) mine += Hits(step * DARTS_A_STEP + i);
    thrown = (step + 1) * DARTS_A_STEP;
    const double share = (double)thrown / (double)ranks;
    muster_progress(step + 1, fabs(4 * (double)mine / share - acos(-1)), thrown);
  }

  char key[32];
  snprintf(key, sizeof key, "hits.%" PRIu64, rank);
  if (ranks > 1 && muster_kv_set(key, &mine, sizeof mine) != MUSTER_OK) return 1;
  if (rank != 0) return 0;
  if (thrown == 0) return 0; /* Stopped before the first step. */
  uint64_t all = mine;
  for (uint64_t from = 1; from < ranks; ++from) {
    uint64_t hits = 0;
    size_t length = sizeof hits;
    snprintf(key, sizeof key, "hits.%" PRIu64, from);
    const int got = muster_kv_get(key, &hits, &length, 60000);
    if (got != MUSTER_OK) return fprintf(stderr, "%s: %s\n", key, muster_status_text(got)), 1;
    all += hits;
  }
  printf("pi is about %.6f after %" PRIu64 " darts\n", 4 * (double)all / (double)thrown, thrown);
  return 0;
}
