// The link's packets about checkpoints, in C99; as codec.h, and held against the same C++ codec.
//
// What does not fit a packet goes in several: an encoder writes as much as fits and says where it
// stopped.  Pure; any thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "runtime/client/codec.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MUSTER_NDIM_MAX = 32 };

// A box of a tensor (link::StagedTensor); extents point to `ndim` numbers each.
typedef struct muster_box {
  const char* name;
  const char* dtype;
  uint32_t ndim;
  const uint64_t *global_shape, *offset, *shape;
} muster_box;

// What is left to be said; the encoders move `boxes` and `text` on.
typedef struct muster_rest {
  const muster_box* boxes;
  size_t count;
  muster_text text;  // The metadata of a save, or the pattern of a load, which is said at once.
  int any;           // A pattern that matches nothing is no error.
} muster_rest;

size_t muster_encode_save_begin(unsigned char* to, size_t room, uint64_t seq, uint64_t step,
                                uint64_t bytes, uint32_t timeout_ms, uint64_t common,
                                muster_rest* rest);
size_t muster_encode_save_copied(unsigned char* to, size_t room, uint64_t seq, uint64_t step,
                                 muster_text error);
size_t muster_encode_load(unsigned char* to, size_t room, uint64_t seq, uint64_t number,
                          uint32_t timeout_ms, muster_rest* rest);

// ---- jobd to rank -------------------------------------------------------------------------------
// Each reads the `body` of a muster_said of its type; 0: it makes no sense.

typedef struct muster_saved {
  uint64_t step;
  muster_text error;
  int local;
} muster_saved;
int muster_decode_saved(muster_text body, muster_saved* saved);

typedef struct muster_save_into {
  uint64_t step, begin, bytes;
  muster_text error;
  int busy;
} muster_save_into;
int muster_decode_save_into(muster_text body, muster_save_into* into);

// A tensor of a LoadedParts; extents are little-endian numbers in the packet.
typedef struct muster_loaded_tensor {
  muster_text name, dtype;
  uint32_t ndim;
  const unsigned char *global_shape, *offset, *shape;
} muster_loaded_tensor;

typedef struct muster_loaded {
  uint64_t number, bytes;
  size_t count;
  muster_text tensors;          // To be read by muster_next_loaded.
  const unsigned char* begins;  // `count` little-endian numbers.
  muster_text metadata, error;
  int more, none;
  uint64_t step;
} muster_loaded;
int muster_decode_loaded(muster_text body, muster_loaded* loaded);
// The first of `tensors`, which moves on behind it.
void muster_next_loaded(muster_text* tensors, muster_loaded_tensor* tensor);
uint64_t muster_little_endian(const unsigned char* at);

#ifdef __cplusplus
}
#endif
