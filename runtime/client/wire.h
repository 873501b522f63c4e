// How the link's packets are spelled (runtime/base/wire.h), in C99.
//
// Pure; any thread.
#pragma once

#include <stdint.h>
#include <string.h>

#include "runtime/client/codec.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { MUSTER_LINK_VERSION = 1 };

// ---- writing ------------------------------------------------------------------------------------

typedef struct muster_writer {
  unsigned char* to;
  size_t room, size;
  int fits;
} muster_writer;

static inline void PutBytes(muster_writer* w, const void* bytes, size_t size) {
  if (!w->fits || size > w->room - w->size) {
    w->fits = 0;
    return;
  }
  if (size > 0) memcpy(w->to + w->size, bytes, size);
  w->size += size;
}

// The low bytes of a number, the lowest first.
static inline void PutNumber(muster_writer* w, uint64_t number, size_t bytes) {
  unsigned char little[8];
  for (size_t i = 0; i < bytes; ++i) little[i] = (unsigned char)(number >> (8 * i));
  PutBytes(w, little, bytes);
}

static inline void PutText(muster_writer* w, muster_text text) {
  if (text.size > UINT32_MAX) w->fits = 0;
  PutNumber(w, text.size, 4);
  PutBytes(w, text.data, text.size);
}

static inline muster_writer BeginPacket(unsigned char* to, size_t room) {
  muster_writer w = {to, room, MUSTER_HEADER_SIZE, room >= MUSTER_HEADER_SIZE};
  return w;
}

// The packet's size; 0 when it did not fit.
static inline size_t EndPacket(muster_writer* w, unsigned type, uint64_t seq) {
  if (!w->fits) return 0;
  muster_writer header = {w->to, MUSTER_HEADER_SIZE, 0, 1};
  PutNumber(&header, MUSTER_LINK_VERSION, 2);
  PutNumber(&header, type, 2);
  PutNumber(&header, w->size - MUSTER_HEADER_SIZE, 4);
  PutNumber(&header, seq, 8);
  return w->size;
}

// ---- reading ------------------------------------------------------------------------------------

// As wire.h has it: a message that ends between two members leaves the rest at their defaults, one
// that ends within a member is wrong, and bytes after the last member are a newer sender's.
typedef struct muster_reader {
  const unsigned char* at;
  size_t left;
  int ok;
} muster_reader;

static inline int More(const muster_reader* r) {
  return r->ok && r->left > 0;
}

static inline uint64_t GetNumber(muster_reader* r, size_t bytes) {
  uint64_t number = 0;
  if (!r->ok || r->left < bytes) {
    r->ok = 0;
    return 0;
  }
  for (size_t i = 0; i < bytes; ++i) number |= (uint64_t)r->at[i] << (8 * i);
  r->at += bytes;
  r->left -= bytes;
  return number;
}

static inline muster_text GetText(muster_reader* r) {
  muster_text text = {"", 0};
  const size_t size = (size_t)GetNumber(r, 4);
  if (!r->ok || size > r->left) {
    r->ok = 0;
    return text;
  }
  text.data = (const char*)r->at;
  text.size = size;
  r->at += size;
  r->left -= size;
  return text;
}

#ifdef __cplusplus
}
#endif
