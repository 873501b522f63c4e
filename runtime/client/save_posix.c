#define _GNU_SOURCE  // on_exit
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/client/muster_checkpoint.h"
#include "runtime/client/parts_posix.h"
#include "runtime/client/saves.h"
#include "runtime/client/share.h"
#include "runtime/client/stage_posix.h"

enum { ANSWER_SLACK_MS = 10000, TELL_MS = 100, EXIT_PATIENCE_MS = 600000, EXIT_RESERVE_MS = 500 };
static const size_t kMetadataMax = (size_t)16 << 20;

static pthread_mutex_t saving = PTHREAD_MUTEX_INITIALIZER;
static muster_saves saves;  // Guarded by `saving`.
static int began;           // So.

// The save that is being copied; of the thread that saves.
static struct {
  int open;     // Between muster_save_begin and muster_save_end.
  int nothing;  // To be saved: the step is there already.
  uint64_t step;
  muster_piece* pieces;
} current;
static int64_t last_step = -1;

// ---- what becomes of saves ----------------------------------------------------------------------

static void Lock(void) {
  pthread_mutex_lock(&saving);
  if (!began) muster_saves_begin(&saves);
  began = 1;
}

void muster_hear_saved(const muster_said* said) {
  muster_saved saved;
  if (!muster_decode_saved(said->body, &saved)) return;
  Lock();
  muster_saves_heard(&saves, &saved);
  pthread_mutex_unlock(&saving);
}

void muster_loaded_now(void) {
  last_step = -1;
  Lock();
  muster_saves_loaded(&saves);
  pthread_mutex_unlock(&saving);
}

static int NoneUnderWay(void) {
  Lock();
  const int none = saves.count == 0;
  pthread_mutex_unlock(&saving);
  return none;
}

int muster_wait_saved(int64_t* step, uint32_t timeout_ms) {
  muster_clear_error();
  const int state = muster_state();
  int status = state;
  if (state == MUSTER_FORKED) {  // Who held the lock when it was forked never gives it back here.
    if (step != NULL) *step = -1;
    return muster_fail(state, "%s", muster_status_text(state));
  }
  if (state == MUSTER_OK || state == MUSTER_LOST) {
    status = muster_listen(NoneUnderWay, muster_now_us() + (uint64_t)timeout_ms * 1000);
  }
  Lock();
  if (step != NULL) *step = saves.committed;
  if (status == MUSTER_OK && saves.failed) {
    status = muster_fail(MUSTER_NOT_SAVED, "%s", saves.why);
  } else if (status == MUSTER_TIMEOUT) {
    muster_fail(status, "step %llu is still being written", (unsigned long long)saves.under_way[0]);
  } else if (status != MUSTER_OK) {
    muster_fail(status, "%s", muster_status_text(status));
  }
  pthread_mutex_unlock(&saving);
  return status;
}

// A rank that ends well ends with its saves committed.  One that fails does not wait: what it
// staged is written all the same.
static void WaitAtExit(int exit_status, void* unused) {
  (void)unused;
  if (exit_status != 0 || muster_channel_state() != MUSTER_OK || NoneUnderWay()) return;
  const int64_t grace_ms = muster_grace_left_ms();
  const int64_t most_ms = grace_ms < 0                 ? EXIT_PATIENCE_MS
                          : grace_ms > EXIT_RESERVE_MS ? grace_ms - EXIT_RESERVE_MS
                                                       : 0;
  if (muster_wait_saved(NULL, (uint32_t)most_ms) == MUSTER_OK) return;
  fprintf(stderr, "muster: at the end of rank %d: %s\n", muster_rank(), muster_error());
}

static int NotSaved(int status, uint64_t step, const char* why) {
  const muster_text text = {why, strlen(why)};
  Lock();
  muster_saves_failed(&saves, step, text);
  muster_fail(status, "%s", saves.why);
  pthread_mutex_unlock(&saving);
  return status;
}

// ---- beginning ----------------------------------------------------------------------------------

int muster_can_save(void) {
  return muster_state() == MUSTER_OK && muster_who()->checkpoint_store;
}

// What is asked of the job daemon, and its answer.
typedef struct asking {
  uint64_t step, bytes;
  uint32_t timeout_ms;
  uint64_t common;
  muster_rest rest, next;
  // The answer.
  uint64_t begin;
  int fd, busy;
  char error[MUSTER_SENTENCE_MAX];
} asking;

static size_t EncodeBegin(void* what, unsigned char* to, size_t room, uint64_t seq, int again,
                          int* more) {
  asking* a = what;
  if (!again) a->rest = a->next;
  a->next = a->rest;
  const size_t size = muster_encode_save_begin(to, room, seq, a->step, a->bytes, a->timeout_ms,
                                               a->common, &a->next);
  *more = a->next.count > 0 || a->next.text.size > 0;
  return size;
}

static int UseInto(void* what, muster_said* said) {
  asking* a = what;
  muster_save_into into;
  if (!muster_decode_save_into(said->body, &into) || into.step != a->step) return -1;
  a->begin = into.begin;
  a->busy = into.busy;
  snprintf(a->error, sizeof a->error, "%.*s", into.error.size > 1000 ? 1000 : (int)into.error.size,
           into.error.data);
  if (into.error.size == 0) {
    a->fd = said->fd;
    said->fd = -1;
  }
  return 1;
}

// A box for each piece, with extents in memory of its own behind them; null: no memory.
static muster_box* BoxesOf(const muster_tensor* tensors, const muster_piece* pieces, size_t count) {
  size_t extents = 0;
  for (size_t i = 0; i < count; ++i) extents += 2 * (size_t)tensors[pieces[i].tensor].ndim;
  muster_box* boxes = malloc(count * sizeof *boxes + extents * sizeof(uint64_t) + 1);
  if (boxes == NULL) return NULL;
  uint64_t* next = (uint64_t*)(void*)(boxes + count);
  for (size_t i = 0; i < count; ++i) {
    const muster_tensor* t = &tensors[pieces[i].tensor];
    uint64_t *offset = next, *shape = next + t->ndim;
    next += 2 * (size_t)t->ndim;
    for (uint32_t d = 0; d < t->ndim; ++d) {
      offset[d] = t->global_shape == NULL ? 0 : t->offset[d];
      shape[d] = t->shape[d];
    }
    if (t->ndim > 0) {
      offset[0] += pieces[i].first;
      shape[0] = pieces[i].rows;
    }
    const muster_box box = {t->name, t->dtype,
                            t->ndim, t->global_shape == NULL ? t->shape : t->global_shape,
                            offset,  shape};
    boxes[i] = box;
  }
  return boxes;
}

// Whether the step may be saved; the sentence says why not.
static int CheckStep(uint64_t step) {
  const int state = muster_state();
  if (state == MUSTER_NO_LINK) {
    return muster_fail(state,
                       "step %llu is not saved: this process does not run under muster, so "
                       "there is no store (muster_can_save says so beforehand)",
                       (unsigned long long)step);
  }
  if (state == MUSTER_FORKED) {
    return muster_fail(state,
                       "step %llu is not saved: this is a forked child of rank %d, such as a "
                       "worker of a data loader; only the rank's own process saves",
                       (unsigned long long)step, muster_rank());
  }
  if (state != MUSTER_OK) return muster_fail(state, "%s", muster_status_text(state));
  if (!muster_can_save()) {
    return muster_fail(MUSTER_NO_STORE,
                       "step %llu is not saved: the job has no checkpoint store; "
                       "give it one by checkpoint: {store: FOLDER} in the job file, or by "
                       "--checkpoint-store FOLDER",
                       (unsigned long long)step);
  }
  if (current.open) {
    return muster_fail(MUSTER_INVALID, "step %llu: the save of step %llu has not ended yet",
                       (unsigned long long)step, (unsigned long long)current.step);
  }
  if (step > INT64_MAX) return muster_fail(MUSTER_INVALID, "the step has more than 63 bits");
  if ((int64_t)step < last_step) {
    return muster_fail(MUSTER_INVALID,
                       "step %llu comes after step %lld; steps grow, since the "
                       "newest checkpoint is that of the highest step",
                       (unsigned long long)step, (long long)last_step);
  }
  return MUSTER_OK;
}

static int CheckMetadata(const char* metadata) {
  if (metadata == NULL) return MUSTER_OK;
  if (strlen(metadata) > kMetadataMax) {
    return muster_fail(MUSTER_INVALID, "the metadata has %zu bytes; at most %zu are allowed",
                       strlen(metadata), kMetadataMax);
  }
  if (metadata[strspn(metadata, " \t\r\n")] == '{') return MUSTER_OK;
  return muster_fail(MUSTER_INVALID,
                     "the metadata is \"%.40s\"; it must be a JSON object, such as "
                     "{\"epoch\": 3}",
                     metadata);
}

// Asks for a place for the pieces, and maps it.
static int FindPlace(asking* a, muster_piece* pieces, size_t count) {
  const muster_question question = {EncodeBegin, MUSTER_SAID_SAVE_INTO, UseInto, a};
  const uint64_t patience_ms = (uint64_t)a->timeout_ms + ANSWER_SLACK_MS;
  const int status = muster_ask(&question, muster_now_us() + patience_ms * 1000);
  last_step = (int64_t)a->step;
  if (status != MUSTER_OK) {
    return NotSaved(status, a->step, muster_status_text(status));
  }
  if (a->error[0] != '\0') {
    return NotSaved(a->busy ? MUSTER_BUSY : MUSTER_NOT_SAVED, a->step, a->error);
  }
  char* at = a->bytes == 0 || a->fd < 0 ? NULL : muster_map_stage(a->fd, a->begin, a->bytes);
  const int error = errno;
  if (a->fd >= 0) close(a->fd);
  current.open = 1;
  if (a->bytes > 0 && at == NULL) {
    if (a->fd < 0) {
      muster_no_descriptor(a->error, sizeof a->error);
    } else {
      snprintf(a->error, sizeof a->error, "mapping %llu bytes of staging memory: %s",
               (unsigned long long)a->bytes, strerror(error));
    }
    return muster_save_end(a->error);  // The node waits for this part no longer.
  }
  for (size_t i = 0; i < count; ++i) {
    pieces[i].into = at;
    if (at != NULL) at += pieces[i].bytes;
  }
  return MUSTER_OK;
}

// With scratch memory for `count` tensors.
static int Begin(const muster_tensor* tensors, size_t count, asking* a, size_t* order,
                 size_t* pieces) {
  char complaint[MUSTER_SENTENCE_MAX];
  if (!muster_check_tensors(tensors, count, order, complaint, sizeof complaint)) {
    return muster_fail(MUSTER_INVALID, "%s", complaint);
  }
  const muster_environment* who = muster_who();
  *pieces = muster_share(tensors, count, order, (uint32_t)who->rank, (uint32_t)who->world_size,
                         current.pieces);
  muster_box* boxes = BoxesOf(tensors, current.pieces, *pieces);
  if (boxes == NULL) return muster_fail(MUSTER_NOT_SAVED, "no memory for %zu tensors", count);
  for (size_t i = 0; i < *pieces; ++i) a->bytes += current.pieces[i].bytes;
  a->common = muster_common(tensors, count, order);
  a->next.boxes = boxes;
  a->next.count = *pieces;
  const int status = FindPlace(a, current.pieces, *pieces);
  free(boxes);
  return status;
}

// The step that was saved last: no rank asks anybody, since others may know more of it by now.
static int Again(uint64_t step) {
  Lock();
  const int failed = saves.failed && saves.failed_step == step;
  if (failed) muster_fail(MUSTER_NOT_SAVED, "%s", saves.why);
  pthread_mutex_unlock(&saving);
  current.open = !failed;
  return failed ? MUSTER_NOT_SAVED : MUSTER_OK;
}

int muster_save_begin(uint64_t step, const muster_tensor* tensors, size_t tensor_count,
                      const char* metadata, uint32_t timeout_ms, const muster_piece** pieces,
                      size_t* count) {
  muster_clear_error();
  *pieces = NULL;
  *count = 0;
  int status = CheckStep(step);
  if (status == MUSTER_OK) status = CheckMetadata(metadata);
  if (status != MUSTER_OK) return status;
  current.step = step;
  current.nothing = (int64_t)step == last_step;
  if (current.nothing) return Again(step);
  asking a = {.step = step, .timeout_ms = timeout_ms, .fd = -1};
  a.next.text.data = metadata == NULL || muster_rank() != 0 ? "" : metadata;
  a.next.text.size = strlen(a.next.text.data);
  size_t* order = malloc(tensor_count * sizeof *order + 1);
  current.pieces = malloc(tensor_count * sizeof *current.pieces + 1);
  status = order == NULL || current.pieces == NULL
               ? muster_fail(MUSTER_NOT_SAVED, "no memory for %zu tensors", tensor_count)
               : Begin(tensors, tensor_count, &a, order, count);
  free(order);
  if (status == MUSTER_OK) {
    *pieces = current.pieces;
    return status;
  }
  free(current.pieces);
  current.pieces = NULL;
  *count = 0;
  return status;
}

// ---- ending -------------------------------------------------------------------------------------

typedef struct ending {
  uint64_t step;
  const char* error;
} ending;

static size_t EncodeCopied(void* what, unsigned char* to, size_t room, uint64_t seq) {
  const ending* e = what;
  const muster_text error = {e->error, strnlen(e->error, 1000)};
  return muster_encode_save_copied(to, room, seq, e->step, error);
}

// A place that nobody waits for any more: its node is not to wait for what will not be copied.
void muster_hear_late_place(const muster_said* said) {
  muster_save_into into;
  if (!muster_decode_save_into(said->body, &into) || into.error.size > 0) return;
  ending e = {into.step, "it had given up waiting for a place to copy to"};
  muster_channel_send(EncodeCopied, &e, TELL_MS);
}

int muster_save_end(const char* error) {
  static int exits;
  // Who gives up a save that never began, or has ended, keeps the sentence that says why.
  if (!current.open && error != NULL) return MUSTER_INVALID;
  if (!current.open) return muster_fail(MUSTER_INVALID, "no save has begun");
  current.open = 0;
  if (current.nothing) return MUSTER_OK;
  free(current.pieces);
  current.pieces = NULL;
  ending e = {current.step, error == NULL ? "" : error};
  if (error == NULL) {
    Lock();
    muster_saves_staged(&saves, current.step);
    pthread_mutex_unlock(&saving);
    if (!exits) on_exit(WaitAtExit, NULL);
    exits = 1;
  }
  const int status = muster_channel_send(EncodeCopied, &e, ANSWER_SLACK_MS);
  if (error != NULL) return NotSaved(MUSTER_NOT_SAVED, current.step, error);
  return status == MUSTER_OK ? status : NotSaved(status, current.step, muster_status_text(status));
}

int muster_save(uint64_t step, const muster_tensor* tensors, size_t count, const char* metadata,
                uint32_t timeout_ms) {
  const muster_piece* pieces;
  size_t n;
  for (size_t i = 0; i < count; ++i) {
    if (tensors[i].data != NULL || muster_item_bytes(tensors[i].dtype) == 0) continue;
    if (muster_tensor_bytes(&tensors[i]) > 0) {
      return muster_fail(MUSTER_INVALID, "tensor \"%.200s\" has no data", tensors[i].name);
    }
  }
  const int status = muster_save_begin(step, tensors, count, metadata, timeout_ms, &pieces, &n);
  if (status != MUSTER_OK) return status;
  for (size_t i = 0; i < n; ++i) {
    const muster_tensor* t = &tensors[pieces[i].tensor];
    const uint64_t before =
        pieces[i].rows == 0 ? 0 : pieces[i].bytes / pieces[i].rows * pieces[i].first;
    if (pieces[i].bytes > 0) memcpy(pieces[i].into, (const char*)t->data + before, pieces[i].bytes);
  }
  return muster_save_end(NULL);
}
