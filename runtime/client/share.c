#define _GNU_SOURCE  // qsort_r
#include "runtime/client/share.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/client/checkpoint_codec.h"

#define DTYPES                                                                                \
  "BF16, BOOL, F16, F32, F64, F8_E4M3, F8_E4M3FNUZ, F8_E5M2, F8_E5M2FNUZ, F8_E8M0, I8, I16, " \
  "I32, I64, U8, U16, U32, U64"

enum { MUSTER_NAME_MAX = 1000 };
static const uint64_t kBytesMax = (uint64_t)1 << 60;

uint64_t muster_item_bytes(const char* dtype) {
  static const struct {
    const char* name;
    uint64_t bytes;
  } kDtypes[] = {{"BOOL", 1},    {"U8", 1},      {"I8", 1},          {"F8_E5M2", 1},
                 {"F8_E4M3", 1}, {"F8_E8M0", 1}, {"F8_E4M3FNUZ", 1}, {"F8_E5M2FNUZ", 1},
                 {"I16", 2},     {"U16", 2},     {"F16", 2},         {"BF16", 2},
                 {"I32", 4},     {"U32", 4},     {"F32", 4},         {"F64", 8},
                 {"I64", 8},     {"U64", 8}};
  for (size_t i = 0; dtype != NULL && i < sizeof kDtypes / sizeof kDtypes[0]; ++i) {
    if (strcmp(dtype, kDtypes[i].name) == 0) return kDtypes[i].bytes;
  }
  return 0;
}

uint64_t muster_tensor_bytes(const muster_tensor* tensor) {
  uint64_t bytes = muster_item_bytes(tensor->dtype);
  for (uint32_t i = 0; i < tensor->ndim; ++i) bytes *= tensor->shape[i];
  return bytes;
}

static int Fits(const uint64_t* shape, uint32_t ndim, uint64_t item) {
  uint64_t bytes = item;
  for (uint32_t i = 0; i < ndim; ++i) {
    if (shape[i] > 0 && bytes > kBytesMax / shape[i]) return 0;
    if (shape[i] > 0) bytes *= shape[i];
  }
  return 1;
}

// As the store has it.
static int IsName(const char* name) {
  const size_t size = strlen(name);
  if (size > MUSTER_NAME_MAX || strcmp(name, "__metadata__") == 0) return 0;
  for (size_t i = 0; i < size; ++i) {
    if ((unsigned char)name[i] < ' ') return 0;
  }
  return 1;
}

// A sentence about this tensor alone, or null.
static const char* Wrong(const muster_tensor* t) {
  if (!IsName(t->name)) {
    return "a name has 1 to 1000 bytes, no control characters, and is not __metadata__";
  }
  if (muster_item_bytes(t->dtype) == 0) return "its dtype is none of " DTYPES;
  if (t->ndim > MUSTER_NDIM_MAX) return "it has more than 32 dimensions";
  if (t->ndim > 0 && t->shape == NULL) return "it has no shape";
  if ((t->offset == NULL) != (t->global_shape == NULL) && t->ndim > 0) {
    return "offset and global_shape go together: a box needs both, the same on all ranks neither";
  }
  if (!Fits(t->shape, t->ndim, muster_item_bytes(t->dtype))) return "it is too large";
  if (t->global_shape == NULL || t->ndim == 0) return NULL;
  if (!Fits(t->global_shape, t->ndim, muster_item_bytes(t->dtype))) return "it is too large";
  for (uint32_t i = 0; i < t->ndim; ++i) {
    if (t->offset[i] > t->global_shape[i] || t->shape[i] > t->global_shape[i] - t->offset[i]) {
      return "its box does not lie inside of global_shape";
    }
  }
  return NULL;
}

static int ByName(const void* a, const void* b, void* tensors) {
  const muster_tensor* all = tensors;
  const size_t x = *(const size_t*)a, y = *(const size_t*)b;
  const int names = strcmp(all[x].name, all[y].name);
  return names != 0 ? names : (x > y) - (x < y);
}

int muster_check_tensors(const muster_tensor* tensors, size_t count, size_t* order, char* complaint,
                         size_t room) {
  for (size_t i = 0; i < count; ++i) {
    if (tensors[i].name == NULL || tensors[i].name[0] == '\0') {
      snprintf(complaint, room, "tensor %zu of %zu has no name", i, count);
      return 0;
    }
    const char* wrong = Wrong(&tensors[i]);
    if (wrong != NULL) {
      snprintf(complaint, room, "tensor \"%.200s\" (dtype %.40s): %s", tensors[i].name,
               tensors[i].dtype == NULL ? "null" : tensors[i].dtype, wrong);
      return 0;
    }
    order[i] = i;
  }
  qsort_r(order, count, sizeof *order, ByName, (void*)(uintptr_t)tensors);
  for (size_t i = 1; i < count; ++i) {
    const muster_tensor *one = &tensors[order[i - 1]], *other = &tensors[order[i]];
    const int boxes = one->global_shape != NULL && other->global_shape != NULL;
    if (boxes || strcmp(one->name, other->name) != 0) continue;
    snprintf(complaint, room, "two tensors have the name \"%.200s\"", one->name);
    return 0;
  }
  return 1;
}

// FNV-1a.
static uint64_t Hash(uint64_t hash, const void* bytes, size_t size) {
  for (size_t i = 0; i < size; ++i)
    hash = (hash ^ ((const unsigned char*)bytes)[i]) * 0x100000001b3;
  return hash;
}

uint64_t muster_common(const muster_tensor* tensors, size_t count, const size_t* order) {
  uint64_t hash = 0xcbf29ce484222325;
  for (size_t i = 0; i < count; ++i) {
    const muster_tensor* t = &tensors[order[i]];
    if (t->global_shape != NULL) continue;
    hash = Hash(hash, t->name, strlen(t->name) + 1);
    hash = Hash(hash, t->dtype, strlen(t->dtype) + 1);
    hash = Hash(hash, &t->ndim, sizeof t->ndim);
    hash = Hash(hash, t->shape, t->ndim * sizeof *t->shape);
  }
  return hash;
}

size_t muster_share(const muster_tensor* tensors, size_t count, const size_t* order, uint32_t rank,
                    uint32_t ranks, muster_piece* pieces) {
  uint64_t total = 0, at = 0;
  size_t n = 0;
  for (size_t i = 0; i < count; ++i) {
    if (tensors[i].global_shape == NULL) total += muster_tensor_bytes(&tensors[i]);
  }
  // A row belongs to the rank in whose part of the bytes it begins.
  const uint64_t begin = total / ranks * rank + total % ranks * rank / ranks;
  const uint64_t end = rank + 1 == ranks
                           ? UINT64_MAX
                           : total / ranks * (rank + 1) + total % ranks * (rank + 1) / ranks;
  for (size_t i = 0; i < count; ++i) {
    const muster_tensor* t = &tensors[order[i]];
    const uint64_t rows = t->ndim == 0 ? 1 : t->shape[0];
    const uint64_t bytes = muster_tensor_bytes(t);
    uint64_t from = 0, to = rows;
    if (t->global_shape == NULL && bytes == 0) {
      if (at < begin || at >= end) continue;
    } else if (t->global_shape == NULL) {
      const uint64_t row = bytes / rows;
      const uint64_t low = begin > at ? (begin - at + row - 1) / row : 0;
      const uint64_t high = end > at ? (end - at + row - 1) / row : 0;
      from = low < rows ? low : rows;
      to = rank + 1 == ranks || high > rows ? rows : high;
      at += bytes;
      if (from >= to) continue;
    }
    const muster_piece piece = {order[i], from, to - from,
                                rows == 0 ? 0 : bytes / rows * (to - from), NULL};
    pieces[n++] = piece;
  }
  return n;
}
