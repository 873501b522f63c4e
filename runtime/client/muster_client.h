// libmuster_client: what a training program tells muster, and may ask of it, in plain C99.
//
// Rank and world, progress (loss curves), the word to stop, keys that all ranks see.  It speaks the
// link (runtime/base/link.h) over the socket that every rank inherits, and links nothing but libc.
//
//   for (step = muster_first; step < steps; ++step) {
//     loss = Train(step);
//     muster_progress(step + 1, loss, tokens);
//     if (muster_should_stop()) { Save(); break; }
//   }
//
// Outside muster every call is a harmless no-op: rank 0 of 1 (or what torchrun or mpirun say), no
// stop, no keys.  Any thread may call anything.  Nothing is allocated, no thread is started, no
// signal handler is set; only muster_kv_set, muster_kv_get and, while the job is being stopped,
// muster_should_stop wait, each for a bounded time.  A process that was forked (a data loader's
// worker) is silent; one that was executed has no link.  One process of a rank uses the link: the
// library opens it at its first call, so make one early.
//
// Saves and loads are another matter (muster_checkpoint.h): they allocate, wait, and fail loudly.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define MUSTER_API __attribute__((visibility("default")))
#else
#define MUSTER_API
#endif

// What calls that can fail answer.
enum muster_status {
  MUSTER_OK = 0,
  MUSTER_NO_LINK = 1,    // Not under muster, or this process has no link; muster_complaint() says.
  MUSTER_FORKED = 2,     // This is a forked child of the process that has the link.
  MUSTER_LOST = 3,       // The job daemon is gone; it takes its ranks along.
  MUSTER_TIMEOUT = 4,    // The key was not set in time; or the job daemon does not read.
  MUSTER_INVALID = 5,    // An argument that is not allowed: see the call.
  MUSTER_TOO_SMALL = 6,  // The buffer cannot hold the value; *length says how much it takes.
  MUSTER_FULL = 7,       // An earlier key was refused: see muster_kv_set.
  // Of saves and loads; muster_error() says more.
  MUSTER_NO_STORE = 8,    // The job was given no checkpoint store.
  MUSTER_BUSY = 9,        // Not saved: earlier saves are still being written.
  MUSTER_NOT_SAVED = 10,  // A save failed: a store, a node, another rank.
  MUSTER_NOT_LOADED = 11,
  MUSTER_NONE = 12  // There is no checkpoint.
};
// One sentence without an end; never null.
MUSTER_API const char* muster_status_text(int status);

// ---- who is this --------------------------------------------------------------------------------
// As the launcher's environment says: muster's, else torchrun's, else mpirun's, else 0 of 1.

MUSTER_API int muster_rank(void);
MUSTER_API int muster_world_size(void);
MUSTER_API int muster_local_rank(void);  // Among the ranks of this node.
MUSTER_API int muster_local_world_size(void);
MUSTER_API int muster_node_rank(void);
MUSTER_API int muster_num_nodes(void);
MUSTER_API int muster_attempt(void);         // From 0; grows with each restart of the job.
MUSTER_API const char* muster_job_id(void);  // "" outside muster; so is the next.
MUSTER_API const char* muster_run_id(void);  // 32 hexadecimal digits, never used again.

// 1 when this process can speak to its job daemon.
MUSTER_API int muster_linked(void);
// Why not, if it should: an environment that no launcher would set.  Else "".
MUSTER_API const char* muster_complaint(void);

// ---- progress -----------------------------------------------------------------------------------
// Never waits and never fails a program: what does not fit now goes with a later call, and only the
// newest counts.  Below 1,000 calls a second each is sent.

// Where a rank is.  The numbers are those of link::Phase.
enum muster_phase {
  MUSTER_PHASE_STARTING = 0,
  MUSTER_PHASE_RESTORING = 1,
  MUSTER_PHASE_TRAINING = 2,  // Of a loop that does not say more.
  MUSTER_PHASE_CHECKPOINT = 3,
  MUSTER_PHASE_STOPPING = 4,
  MUSTER_PHASE_DATA = 5,
  MUSTER_PHASE_FORWARD = 6,
  MUSTER_PHASE_BACKWARD = 7,
  MUSTER_PHASE_COMM = 8,  // The time spent in it is reported as comm_us.
  MUSTER_PHASE_OPTIMIZER = 9,
  MUSTER_PHASE_EVALUATION = 10
};

// No loss was computed: the last one that was told stays.
#define MUSTER_NO_LOSS (-__builtin_inf())

// `step` steps are done; grows.  `loss` counts on rank 0 only.  `tokens` (or samples): processed
// by all ranks since the run began, 0 when nobody counts.  `muster show` draws rank 0's.
MUSTER_API int muster_progress(uint64_t step, double loss, uint64_t tokens);

// From now on the rank is in this phase.  `muster show` has rank 0's, and its time in each.
MUSTER_API int muster_enter_phase(int phase);

// A line for the job's story (`muster events`), at most 1,000 bytes of UTF-8; the rest is cut off.
MUSTER_API int muster_note(const char* text);

// Sends what is still held back; exit() does it, too.
MUSTER_API int muster_flush(void);

// ---- stop ---------------------------------------------------------------------------------------

// 1: the job is to stop (cancel, preemption, time limit): save, and exit with 0.  Call it once a
// step on every rank: then all ranks are told at the same call, so none is left in a collective.
// To that end it may say 0 for up to a second (less with a short grace) after it was asked.
MUSTER_API int muster_should_stop(void);

// Milliseconds until the job is killed; -1 when nobody asked it to stop.
MUSTER_API int64_t muster_grace_left_ms(void);

// ---- keys ---------------------------------------------------------------------------------------
// Seen by all ranks of an attempt, forgotten with it.  A later value replaces an earlier one, in
// the same order everywhere.  Key and value have at most MUSTER_KV_MAX bytes together; the key is
// not empty and does not begin with "muster.".

#define MUSTER_KV_MAX 60000

// An attempt may have MUSTER_KV_BYTES of keys and values, where each key counts 128 bytes more than
// its letters.  The call that goes beyond still says MUSTER_OK, since nobody waits for an answer:
// the key is not set, the job's story (`muster events`) tells which, and all later calls of the
// process say MUSTER_FULL.  Who waits for the key gets MUSTER_TIMEOUT.
#define MUSTER_KV_BYTES 67108864

MUSTER_API int muster_kv_set(const char* key, const void* value, size_t length);

// Waits until the key is set somewhere, at most timeout_ms.  *length: the room in `buffer`, then
// the value's length.
MUSTER_API int muster_kv_get(const char* key, void* buffer, size_t* length, uint32_t timeout_ms);

#ifdef __cplusplus
}
#endif
