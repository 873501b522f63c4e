#include "runtime/client/environment_posix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 24 };

// What one launcher calls things; null: it does not tell.
typedef struct names {
  const char *rank, *world_size, *local_rank, *local_world_size, *node_rank, *num_nodes, *attempt;
} names;

static const names kMuster = {
    "MUSTER_RANK",      "MUSTER_WORLD_SIZE", "MUSTER_LOCAL_RANK", "MUSTER_LOCAL_WORLD_SIZE",
    "MUSTER_NODE_RANK", "MUSTER_NUM_NODES",  "MUSTER_ATTEMPT"};
static const names kTorchrun = {"RANK",
                                "WORLD_SIZE",
                                "LOCAL_RANK",
                                "LOCAL_WORLD_SIZE",
                                "GROUP_RANK",
                                "GROUP_WORLD_SIZE",
                                "TORCHELASTIC_RESTART_COUNT"};
static const names kMpirun = {"OMPI_COMM_WORLD_RANK",
                              "OMPI_COMM_WORLD_SIZE",
                              "OMPI_COMM_WORLD_LOCAL_RANK",
                              "OMPI_COMM_WORLD_LOCAL_SIZE",
                              NULL,
                              NULL,
                              NULL};

// A number from low to high; keeps the first complaint.
static int Number(muster_environment* out, const char* name, long low, long high, int otherwise) {
  const char* text = name == NULL ? NULL : getenv(name);
  char* end = NULL;
  if (text == NULL) return otherwise;
  errno = 0;
  const long value = strtol(text, &end, 10);
  if (errno == 0 && end != text && *end == '\0' && value >= low && value <= high) {
    return (int)value;
  }
  if (out->complaint[0] == '\0') {
    snprintf(out->complaint, sizeof out->complaint,
             "%s is \"%.40s\"; the launcher must set it to a number from %ld to %ld", name, text,
             low, high);
  }
  return otherwise;
}

static void Text(char* to, size_t room, const char* name) {
  const char* text = getenv(name);
  snprintf(to, room, "%s", text == NULL ? "" : text);
}

static void Alone(muster_environment* out) {
  out->rank = out->local_rank = out->node_rank = out->attempt = 0;
  out->world_size = out->local_world_size = out->num_nodes = 1;
  out->link_fd = -1;
}

void muster_read_environment(muster_environment* out) {
  memset(out, 0, sizeof *out);
  Alone(out);
  const int ours = getenv("MUSTER_RANK") != NULL;
  const int torch = getenv("RANK") != NULL && getenv("WORLD_SIZE") != NULL;
  const int mpi = getenv("OMPI_COMM_WORLD_RANK") != NULL;
  if (!ours && !torch && !mpi) return;
  const names* n = ours ? &kMuster : torch ? &kTorchrun : &kMpirun;
  out->world_size = Number(out, n->world_size, 1, MOST, 1);
  out->rank = Number(out, n->rank, 0, out->world_size - 1, 0);
  out->local_world_size = Number(out, n->local_world_size, 1, out->world_size, 1);
  out->local_rank = Number(out, n->local_rank, 0, out->local_world_size - 1, 0);
  out->num_nodes = Number(out, n->num_nodes, 1, out->world_size, 1);
  out->node_rank = Number(out, n->node_rank, 0, out->num_nodes - 1, 0);
  out->attempt = Number(out, n->attempt, 0, MOST, 0);
  if (ours) {
    out->link_fd = Number(out, "MUSTER_LINK_FD", 0, MOST, -1);
    Text(out->job_id, sizeof out->job_id, "MUSTER_JOB_ID");
    Text(out->run_id, sizeof out->run_id, "MUSTER_RUN_ID");
    out->checkpoint_store = getenv("MUSTER_CHECKPOINT_STORE") != NULL;
    Text(out->link_token, sizeof out->link_token, "MUSTER_LINK_TOKEN");
  }
  if (out->complaint[0] != '\0') Alone(out);
}
