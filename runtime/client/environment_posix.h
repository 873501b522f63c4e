// Who this process is, as its launcher says in the environment.  Any thread, before it changes.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

typedef struct muster_environment {
  int rank, world_size;
  int local_rank, local_world_size;
  int node_rank, num_nodes;
  int attempt;
  char job_id[32];
  char run_id[64];
  int link_fd;  // -1: none.
  char link_token[64];
  int checkpoint_store;  // Whether the job has one.
  char complaint[200];
} muster_environment;

// What makes no sense is named in `complaint`; the process is then alone: 0 of 1.
void muster_read_environment(muster_environment* out);

#ifdef __cplusplus
}
#endif
