// A load: every rank asks for what it wants of the newest commit, which the job daemons agree on,
// and maps the memory that its node's answers with.
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "runtime/client/muster_checkpoint.h"
#include "runtime/client/parts_posix.h"
#include "runtime/client/saves.h"
#include "runtime/client/share.h"

enum { READ_PATIENCE_MS = 1800000 };

// ---- what was read ------------------------------------------------------------------------------

// The public part comes first.
typedef struct reading {
  muster_checkpoint told;
  muster_tensor* tensors;  // `shape` begins each one's own memory.
  uint64_t* begins;
  size_t room;
  char* metadata;
  size_t metadata_size;
  char* at;
  uint64_t bytes;
  // While it is being read.
  uint64_t number;
  uint32_t timeout_ms;
  muster_rest rest, next;
  int failed, none;
  char error[MUSTER_SENTENCE_MAX];
} reading;

void muster_close_checkpoint(muster_checkpoint* checkpoint) {
  reading* r = (reading*)(void*)checkpoint;
  if (r == NULL) return;
  for (size_t i = 0; i < r->told.count; ++i) free((void*)(uintptr_t)r->tensors[i].shape);
  if (r->bytes > 0 && r->at != NULL) munmap(r->at, r->bytes);
  free(r->tensors);
  free(r->begins);
  free(r->metadata);
  free(r);
}

static size_t EncodeLoad(void* what, unsigned char* to, size_t room, uint64_t seq, int again,
                         int* more) {
  reading* r = what;
  if (!again) r->rest = r->next;
  r->next = r->rest;
  const size_t size = muster_encode_load(to, room, seq, r->number, r->timeout_ms, &r->next);
  *more = r->next.count > 0;
  return size;
}

static int Fail(reading* r, const char* format, const char* what, size_t size) {
  r->failed = 1;
  snprintf(r->error, sizeof r->error, format, size > 1000 ? 1000 : (int)size, what);
  return 1;
}

static int Grow(reading* r, size_t more) {
  if (r->told.count + more <= r->room) return 1;
  const size_t room = 2 * r->room + more;
  muster_tensor* tensors = realloc(r->tensors, room * sizeof *tensors);
  if (tensors != NULL) r->tensors = tensors;
  uint64_t* begins = realloc(r->begins, room * sizeof *begins);
  if (begins != NULL) r->begins = begins;
  if (tensors == NULL || begins == NULL) return 0;
  r->room = room;
  return 1;
}

static void Extents(uint64_t* to, const unsigned char* from, uint32_t ndim) {
  for (uint32_t i = 0; i < ndim; ++i) to[i] = muster_little_endian(from + 8 * (size_t)i);
}

static int AddTensor(reading* r, const muster_loaded_tensor* loaded, uint64_t begin) {
  const size_t ndim = loaded->ndim;
  uint64_t* own =
      malloc(3 * ndim * sizeof(uint64_t) + loaded->name.size + 1 + loaded->dtype.size + 1);
  if (own == NULL) return 0;
  char* name = (char*)(own + 3 * ndim);
  char* dtype = name + loaded->name.size + 1;
  memcpy(name, loaded->name.data, loaded->name.size);
  name[loaded->name.size] = '\0';
  memcpy(dtype, loaded->dtype.data, loaded->dtype.size);
  dtype[loaded->dtype.size] = '\0';
  Extents(own, loaded->shape, loaded->ndim);
  Extents(own + ndim, loaded->offset, loaded->ndim);
  Extents(own + 2 * ndim, loaded->global_shape, loaded->ndim);
  const int whole = memcmp(own, own + 2 * ndim, ndim * sizeof(uint64_t)) == 0;
  const muster_tensor tensor = {
      name, dtype, loaded->ndim, own, whole ? NULL : own + ndim, whole ? NULL : own + 2 * ndim,
      NULL};
  r->begins[r->told.count] = begin;
  r->tensors[r->told.count++] = tensor;
  return 1;
}

static int AddMetadata(reading* r, muster_text piece) {
  char* metadata = realloc(r->metadata, r->metadata_size + piece.size + 1);
  if (metadata == NULL) return 0;
  r->metadata = metadata;
  memcpy(metadata + r->metadata_size, piece.data, piece.size);
  r->metadata_size += piece.size;
  metadata[r->metadata_size] = '\0';
  return 1;
}

// Where each tensor is; 0 when the answer does not fit together.
static int Place(reading* r) {
  for (size_t i = 0; i < r->told.count; ++i) {
    const uint64_t bytes = muster_tensor_bytes(&r->tensors[i]);
    if (r->begins[i] > r->bytes || bytes > r->bytes - r->begins[i]) return 0;
    r->tensors[i].data = r->at == NULL ? (void*)r->metadata : r->at + r->begins[i];
  }
  return 1;
}

static int UseLoaded(void* what, muster_said* said) {
  static const char kNoMemory[] = "no memory for the list of tensors";
  reading* r = what;
  muster_loaded loaded;
  if (!muster_decode_loaded(said->body, &loaded) || loaded.number != r->number) return -1;
  if (loaded.error.size > 0) return Fail(r, "%.*s", loaded.error.data, loaded.error.size);
  r->none = loaded.none;
  if (loaded.none) return 1;
  r->told.step = loaded.step;
  int fits = Grow(r, loaded.count) && AddMetadata(r, loaded.metadata);
  for (size_t i = 0; fits && i < loaded.count; ++i) {
    muster_loaded_tensor tensor;
    muster_next_loaded(&loaded.tensors, &tensor);
    fits = AddTensor(r, &tensor, muster_little_endian(loaded.begins + 8 * i));
  }
  if (!fits) return Fail(r, "%.*s", kNoMemory, sizeof kNoMemory - 1);
  if (loaded.more) return 0;
  r->bytes = loaded.bytes;
  if (r->bytes > 0 && said->fd < 0) {
    r->failed = 1;
    muster_no_descriptor(r->error, sizeof r->error);
    return 1;
  }
  if (r->bytes > 0) {
    // Written to, it is a copy of this rank's own.
    void* at = mmap(NULL, r->bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE, said->fd, 0);
    if (at == MAP_FAILED) {
      const char* why = strerror(errno);
      return Fail(r, "mapping the checkpoint: %.*s", why, strlen(why));
    }
    r->at = at;
  }
  static const char kOdd[] = "the job daemon's answer does not fit together";
  return Place(r) ? 1 : Fail(r, "%.*s", kOdd, sizeof kOdd - 1);
}

// ---- the calls ----------------------------------------------------------------------------------

// `what` has boxes or a pattern.
static int Read(const muster_rest* what, uint64_t number, uint32_t timeout_ms, reading** out) {
  reading* r = calloc(1, sizeof *r);
  if (r == NULL) return muster_fail(MUSTER_NOT_LOADED, "no memory");
  r->number = number;
  r->timeout_ms = timeout_ms;
  r->next = *what;
  const muster_question question = {EncodeLoad, MUSTER_SAID_LOADED, UseLoaded, r};
  const uint64_t patience_ms = (uint64_t)timeout_ms + READ_PATIENCE_MS;
  const int answered = muster_ask(&question, muster_now_us() + patience_ms * 1000);
  r->told.tensors = r->tensors;
  r->told.metadata = r->metadata == NULL ? "" : r->metadata;
  if (answered == MUSTER_OK && !r->failed && !r->none) {
    muster_loaded_now();
    *out = r;
    return MUSTER_OK;
  }
  const int failed = answered != MUSTER_OK
                         ? muster_fail(answered, "%s", muster_status_text(answered))
                     : r->none ? muster_fail(MUSTER_NONE, "the run has no checkpoint yet")
                               : muster_fail(MUSTER_NOT_LOADED, "%s", r->error);
  muster_close_checkpoint(&r->told);
  return failed;
}

// MUSTER_OK when there may be a checkpoint.
static int Ready(uint64_t* number) {
  static uint64_t loads;
  *number = ++loads;
  muster_clear_error();
  const int state = muster_state();
  if (state == MUSTER_OK && muster_can_save()) return MUSTER_OK;
  if (state == MUSTER_OK || state == MUSTER_NO_LINK) {
    return muster_fail(MUSTER_NONE, "there is no checkpoint store, so there is no checkpoint");
  }
  if (state == MUSTER_FORKED) {
    return muster_fail(state,
                       "this is a forked child of rank %d, such as a worker of a data loader; only "
                       "the rank's own process loads",
                       muster_rank());
  }
  return muster_fail(state, "%s", muster_status_text(state));
}

static int LoadMatching(const char* pattern, int any, muster_checkpoint** checkpoint,
                        uint32_t timeout_ms) {
  uint64_t number;
  int status = Ready(&number);
  *checkpoint = NULL;
  if (status != MUSTER_OK) return status;
  if (pattern == NULL || pattern[0] == '\0' || strlen(pattern) > 1000) {
    return muster_fail(MUSTER_INVALID, "a pattern of 1 to 1000 bytes says what to load, such as *");
  }
  reading* r = NULL;
  const muster_rest what = {.text = {pattern, strlen(pattern)}, .any = any};
  status = Read(&what, number, timeout_ms, &r);
  if (status == MUSTER_OK) *checkpoint = &r->told;
  return status;
}

int muster_load(const char* pattern, muster_checkpoint** checkpoint, uint32_t timeout_ms) {
  return LoadMatching(pattern, 0, checkpoint, timeout_ms);
}

int muster_load_any(const char* pattern, muster_checkpoint** checkpoint, uint32_t timeout_ms) {
  return LoadMatching(pattern, 1, checkpoint, timeout_ms);
}

static int Fill(const muster_tensor* tensors, size_t count, const reading* r) {
  if (r->told.count != count) {
    return muster_fail(MUSTER_NOT_LOADED, "%zu tensors were asked for, %zu came", count,
                       r->told.count);
  }
  for (size_t i = 0; i < count; ++i) {
    const uint64_t bytes = muster_tensor_bytes(&tensors[i]);
    if (bytes > 0 && tensors[i].data != NULL) memcpy(tensors[i].data, r->tensors[i].data, bytes);
  }
  return MUSTER_OK;
}

static int LoadInto(const muster_tensor* tensors, size_t count, size_t* order, muster_box* boxes,
                    uint64_t number, uint32_t timeout_ms, reading** out) {
  static const uint64_t kOrigin[MUSTER_NDIM_MAX];
  char complaint[MUSTER_SENTENCE_MAX];
  if (!muster_check_tensors(tensors, count, order, complaint, sizeof complaint)) {
    return muster_fail(MUSTER_INVALID, "%s", complaint);
  }
  for (size_t i = 0; i < count; ++i) {
    const muster_tensor* t = &tensors[i];
    const int whole = t->global_shape == NULL || t->ndim == 0;
    const muster_box box = {
        t->name, t->dtype, t->ndim, whole ? t->shape : t->global_shape, whole ? kOrigin : t->offset,
        t->shape};
    boxes[i] = box;
  }
  const muster_rest what = {.boxes = boxes, .count = count};
  const int status = Read(&what, number, timeout_ms, out);
  return status == MUSTER_OK ? Fill(tensors, count, *out) : status;
}

int muster_load_into(const muster_tensor* tensors, size_t count, muster_checkpoint** checkpoint,
                     uint32_t timeout_ms) {
  uint64_t number;
  int status = Ready(&number);
  if (checkpoint != NULL) *checkpoint = NULL;
  if (status != MUSTER_OK) return status;
  reading* r = NULL;
  size_t* order = malloc(count * sizeof *order + 1);
  muster_box* boxes = malloc(count * sizeof *boxes + 1);
  status = order == NULL || boxes == NULL
               ? muster_fail(MUSTER_NOT_LOADED, "no memory for %zu tensors", count)
               : LoadInto(tensors, count, order, boxes, number, timeout_ms, &r);
  free(order);
  free(boxes);
  if (status == MUSTER_OK && checkpoint != NULL) {
    *checkpoint = &r->told;
  } else if (r != NULL) {
    muster_close_checkpoint(&r->told);
  }
  return status;
}
