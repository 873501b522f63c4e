// Checkpoints for training programs, in plain C99: saved by all ranks of a job, loaded by any
// number of them.
//
//   muster_tensor w = {"w", "F32", 2, shape, NULL, NULL, weights};
//   muster_checkpoint* newest;
//   if (muster_load_into(&w, 1, &newest, 600000) == MUSTER_OK) first = newest->step;
//   ...
//   if (step % 100 == 0) muster_save(step, &w, 1, "{\"epoch\": 3}", 600000);
//
// A save is there for a restart once it is committed: all parts of it, of all ranks, or none.  It
// goes into the job's checkpoint store, through its node's staging memory: muster_save returns when
// its bytes are copied there, and from then on a rank may die.
//
// All ranks of the job call each of these in the same order, with the same steps; a rank that does
// not is named.  Unlike the rest of the library they allocate, wait, and fail where there is
// nothing to save to: a program must not believe that it saved.  One thread at a time.
#pragma once

#include "runtime/client/muster_client.h"

#ifdef __cplusplus
extern "C" {
#endif

// A tensor, row major and without gaps.
typedef struct muster_tensor {
  const char* name;   // 1 to 1000 bytes, no control characters.
  const char* dtype;  // As safetensors names it: "F32", "BF16", "I64", "U8", "BOOL", ...
  uint32_t ndim;      // 0: a scalar.
  const uint64_t* shape;
  // Both null: every rank has the same values, and each writes an even part of them.  Else this is
  // this rank's own box, at `offset` in the whole tensor; the boxes of all ranks tile it.  Of a box
  // that several ranks have, each saves rows of its own.
  const uint64_t *offset, *global_shape;
  void* data;
} muster_tensor;

// What was wrong with this thread's last call here, in a sentence; "" if nothing was.
MUSTER_API const char* muster_error(void);

// ---- save ---------------------------------------------------------------------------------------

// 1 when the job has a checkpoint store: without one, saves fail with MUSTER_NO_STORE (outside
// muster with MUSTER_NO_LINK).
MUSTER_API int muster_can_save(void);

// Copies the tensors to staging memory.  Steps grow; saving the last one again does nothing.  What
// the ranks of another node do not come to within timeout_ms (and the job's checkpoint.deadline)
// fails, too; muster_wait_saved names them.
// `metadata`: a JSON object or null; rank 0's counts.  timeout_ms: for the other ranks of this node
// to come, and for one of the two staging memories (MUSTER_BUSY: earlier saves are still being
// written, and this step is not saved).  A process that ends with exit(0) first waits for its
// saves, as long as the job may take to stop.
MUSTER_API int muster_save(uint64_t step, const muster_tensor* tensors, size_t count,
                           const char* metadata, uint32_t timeout_ms);

// Waits until no save is under way.  *step (may be null): the newest that this attempt committed,
// or -1.  MUSTER_OK; MUSTER_TIMEOUT: still under way; MUSTER_NOT_SAVED: the last one failed.
MUSTER_API int muster_wait_saved(int64_t* step, uint32_t timeout_ms);

// The same in two steps, without the copying, for bindings.  Rows [first, first + rows) of a tensor
// (of a scalar: all of it) belong into the memory `into`.
typedef struct muster_piece {
  size_t tensor;
  uint64_t first, rows, bytes;
  void* into;
} muster_piece;

// `data` may be null.  After MUSTER_OK *pieces stay until muster_save_end, which has to follow;
// *count is 0 when there is nothing to copy.
MUSTER_API int muster_save_begin(uint64_t step, const muster_tensor* tensors, size_t tensor_count,
                                 const char* metadata, uint32_t timeout_ms,
                                 const muster_piece** pieces, size_t* count);
// `error`: why the pieces could not be copied, so that the step is not saved; else null.  With an
// error where nothing has begun, muster_error() stays as it is.
MUSTER_API int muster_save_end(const char* error);

// ---- load ---------------------------------------------------------------------------------------
// A node reads each byte once from the store, and no byte counts before its checksum held.

// What was read, in memory of its own.
typedef struct muster_checkpoint {
  uint64_t step;
  const char* metadata;  // A JSON object, or "".
  size_t count;
  const muster_tensor* tensors;  // `data` may be written to, which nobody else sees.
} muster_checkpoint;

// The tensors of the newest commit whose names match (* and ? as in a shell), whole, by name.
// MUSTER_NONE: there is no commit, or muster_can_save() is 0.  MUSTER_NOT_LOADED: none matches, or
// a byte cannot be read.  timeout_ms: for the other ranks.
MUSTER_API int muster_load(const char* pattern, muster_checkpoint** checkpoint,
                           uint32_t timeout_ms);
// The same, but where no tensor matches, the checkpoint comes with none: for what `metadata` has.
MUSTER_API int muster_load_any(const char* pattern, muster_checkpoint** checkpoint,
                               uint32_t timeout_ms);

// Fills the `data` of tensors or of boxes of them, from any number of ranks to any other.  A name
// that is not there, another dtype or shape, a byte that cannot be read: nothing is filled.
// `checkpoint` (may be null): those tensors as they were read; one whose `data` is null is only
// there.
MUSTER_API int muster_load_into(const muster_tensor* tensors, size_t count,
                                muster_checkpoint** checkpoint, uint32_t timeout_ms);

MUSTER_API void muster_close_checkpoint(muster_checkpoint* checkpoint);

#ifdef __cplusplus
}
#endif
