#include "runtime/client/codec.h"

#include <string.h>

// Indexes of link::ToJobd.
enum { TYPE_HELLO = 0, TYPE_PROGRESS = 1, TYPE_KV_SET = 2, TYPE_KV_GET = 3 };

enum { LINK_VERSION = 1 };

// ---- writing ------------------------------------------------------------------------------------

typedef struct writer {
  unsigned char* to;
  size_t room, size;
  int fits;
} writer;

static void PutBytes(writer* w, const void* bytes, size_t size) {
  if (!w->fits || size > w->room - w->size) {
    w->fits = 0;
    return;
  }
  if (size > 0) memcpy(w->to + w->size, bytes, size);
  w->size += size;
}

// The low bytes of a number, the lowest first.
static void PutNumber(writer* w, uint64_t number, size_t bytes) {
  unsigned char little[8];
  for (size_t i = 0; i < bytes; ++i) little[i] = (unsigned char)(number >> (8 * i));
  PutBytes(w, little, bytes);
}

static void PutDouble(writer* w, double number) {
  uint64_t bits;
  memcpy(&bits, &number, sizeof bits);
  PutNumber(w, bits, sizeof bits);
}

static void PutText(writer* w, muster_text text) {
  if (text.size > UINT32_MAX) w->fits = 0;
  PutNumber(w, text.size, 4);
  PutBytes(w, text.data, text.size);
}

static writer Begin(unsigned char* to, size_t room) {
  writer w = {to, room, MUSTER_HEADER_SIZE, room >= MUSTER_HEADER_SIZE};
  return w;
}

static size_t End(writer* w, unsigned type, uint64_t seq) {
  if (!w->fits) return 0;
  writer header = {w->to, MUSTER_HEADER_SIZE, 0, 1};
  PutNumber(&header, LINK_VERSION, 2);
  PutNumber(&header, type, 2);
  PutNumber(&header, w->size - MUSTER_HEADER_SIZE, 4);
  PutNumber(&header, seq, 8);
  return w->size;
}

size_t muster_encode_hello(unsigned char* to, size_t room, uint64_t seq,
                           const muster_hello* hello) {
  writer w = Begin(to, room);
  PutNumber(&w, (uint32_t)hello->pid, 4);
  PutText(&w, hello->token);
  PutNumber(&w, hello->local_rank, 4);
  PutNumber(&w, hello->polls != 0, 1);
  return End(&w, TYPE_HELLO, seq);
}

size_t muster_encode_report(unsigned char* to, size_t room, uint64_t seq,
                            const muster_report* report) {
  writer w = Begin(to, room);
  PutNumber(&w, report->step, 8);
  PutDouble(&w, report->loss);
  PutNumber(&w, report->tokens, 8);
  PutNumber(&w, report->comm_us, 8);
  PutNumber(&w, (uint64_t)report->phase, 1);
  PutText(&w, report->note);
  PutNumber(&w, MUSTER_PHASES, 4);
  for (size_t i = 0; i < MUSTER_PHASES; ++i) PutNumber(&w, report->phase_us[i], 8);
  return End(&w, TYPE_PROGRESS, seq);
}

size_t muster_encode_kv_set(unsigned char* to, size_t room, uint64_t seq, muster_text key,
                            muster_text value) {
  writer w = Begin(to, room);
  PutText(&w, key);
  PutText(&w, value);
  return End(&w, TYPE_KV_SET, seq);
}

size_t muster_encode_kv_get(unsigned char* to, size_t room, uint64_t seq, muster_text key,
                            uint32_t timeout_ms) {
  writer w = Begin(to, room);
  PutText(&w, key);
  PutNumber(&w, timeout_ms, 4);
  return End(&w, TYPE_KV_GET, seq);
}

// ---- reading ------------------------------------------------------------------------------------

// As wire.h has it: a message that ends between two members leaves the rest at their defaults, one
// that ends within a member is wrong, and bytes after the last member are a newer sender's.
typedef struct reader {
  const unsigned char* at;
  size_t left;
  int ok;
} reader;

static int More(const reader* r) {
  return r->ok && r->left > 0;
}

static uint64_t GetNumber(reader* r, size_t bytes) {
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

static muster_text GetText(reader* r) {
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

int muster_decode(const unsigned char* packet, size_t size, muster_said* said) {
  const muster_text none = {"", 0};
  muster_said what = {MUSTER_SAID_OTHER, 0, none, none, 0};
  reader r = {packet, size, 1};
  const uint64_t version = GetNumber(&r, 2);
  const uint64_t type = GetNumber(&r, 2);
  const uint64_t length = GetNumber(&r, 4);
  GetNumber(&r, 8);
  if (!r.ok || version != LINK_VERSION || length != r.left) return 0;
  if (type == MUSTER_SAID_STOP) {
    what.type = MUSTER_SAID_STOP;
    if (More(&r)) what.grace_ms = (uint32_t)GetNumber(&r, 4);
  } else if (type == MUSTER_SAID_KV_VALUE) {
    what.type = MUSTER_SAID_KV_VALUE;
    if (More(&r)) what.key = GetText(&r);
    if (More(&r)) what.value = GetText(&r);
    if (More(&r)) what.found = GetNumber(&r, 1) != 0;
  } else if (type == MUSTER_SAID_KV_REFUSED) {
    what.type = MUSTER_SAID_KV_REFUSED;
    if (More(&r)) what.key = GetText(&r);
  }
  if (r.ok) *said = what;
  return r.ok;
}
