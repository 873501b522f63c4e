/* A training loop in C: keys, phases, progress, and the word to stop.  client_test.py reads what it
 * prints and the file that it saves.
 *
 * usage: client_rank STEPS FOLDER
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/client/muster_client.h"

/* A message to every rank and back: no rank can be more than a step ahead of another, as with a
 * collective.  0 when a key did not come. */
static int Exchange(const char* what, int step) {
  char key[64], value[64];
  const int me = muster_rank();
  snprintf(key, sizeof key, "%s/%d/%d", what, step, me);
  if (muster_kv_set(key, &me, sizeof me) != MUSTER_OK) return 0;
  for (int rank = 0; rank < muster_world_size(); ++rank) {
    size_t length = sizeof value;
    snprintf(key, sizeof key, "%s/%d/%d", what, step, rank);
    if (muster_kv_get(key, value, &length, 60000) != MUSTER_OK) return 0;
    if (length != sizeof rank || memcmp(value, &rank, length) != 0) return 0;
  }
  return 1;
}

static int Save(const char* folder, int step) {
  char path[512];
  snprintf(path, sizeof path, "%s/saved-%d", folder, muster_rank());
  FILE* file = fopen(path, "w");
  if (file == NULL) return 0;
  fprintf(file, "%d", step);
  return fclose(file) == 0;
}

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  const int steps = atoi(argv[1]);
  const int exchanges = muster_linked();
  size_t length = 0;
  if (exchanges && muster_kv_get("nobody sets it", NULL, &length, 20) != MUSTER_TIMEOUT) return 3;
  printf("rank %d of %d, local %d of %d, node %d of %d, attempt %d\n", muster_rank(),
         muster_world_size(), muster_local_rank(), muster_local_world_size(), muster_node_rank(),
         muster_num_nodes(), muster_attempt());
  fflush(stdout);
  for (int step = 1; step <= steps; ++step) {
    muster_enter_phase(MUSTER_PHASE_FORWARD);
    muster_enter_phase(MUSTER_PHASE_COMM);
    if (exchanges && !Exchange("gradient", step)) return 4;
    muster_enter_phase(MUSTER_PHASE_OPTIMIZER);
    muster_progress((uint64_t)step, 8.0 / step, (uint64_t)step * 100);
    if (muster_should_stop()) {
      if (muster_grace_left_ms() <= 0 || !Save(argv[2], step)) return 5;
      printf("stopped\n");
      return 0;
    }
  }
  printf("done\n");
  return 0;
}
