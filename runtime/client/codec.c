#include "runtime/client/codec.h"

#include <string.h>

#include "runtime/client/wire.h"

// Indexes of link::ToJobd.
enum { TYPE_HELLO = 0, TYPE_PROGRESS = 1, TYPE_KV_SET = 2, TYPE_KV_GET = 3 };

// ---- writing ------------------------------------------------------------------------------------

static void PutDouble(muster_writer* w, double number) {
  uint64_t bits;
  memcpy(&bits, &number, sizeof bits);
  PutNumber(w, bits, sizeof bits);
}

size_t muster_encode_hello(unsigned char* to, size_t room, uint64_t seq,
                           const muster_hello* hello) {
  muster_writer w = BeginPacket(to, room);
  PutNumber(&w, (uint32_t)hello->pid, 4);
  PutText(&w, hello->token);
  PutNumber(&w, hello->local_rank, 4);
  PutNumber(&w, hello->polls != 0, 1);
  return EndPacket(&w, TYPE_HELLO, seq);
}

size_t muster_encode_report(unsigned char* to, size_t room, uint64_t seq,
                            const muster_report* report) {
  muster_writer w = BeginPacket(to, room);
  PutNumber(&w, report->step, 8);
  PutDouble(&w, report->loss);
  PutNumber(&w, report->tokens, 8);
  PutNumber(&w, report->comm_us, 8);
  PutNumber(&w, (uint64_t)report->phase, 1);
  PutText(&w, report->note);
  PutNumber(&w, MUSTER_PHASES, 4);
  for (size_t i = 0; i < MUSTER_PHASES; ++i) PutNumber(&w, report->phase_us[i], 8);
  return EndPacket(&w, TYPE_PROGRESS, seq);
}

size_t muster_encode_kv_set(unsigned char* to, size_t room, uint64_t seq, muster_text key,
                            muster_text value) {
  muster_writer w = BeginPacket(to, room);
  PutText(&w, key);
  PutText(&w, value);
  return EndPacket(&w, TYPE_KV_SET, seq);
}

size_t muster_encode_kv_get(unsigned char* to, size_t room, uint64_t seq, muster_text key,
                            uint32_t timeout_ms) {
  muster_writer w = BeginPacket(to, room);
  PutText(&w, key);
  PutNumber(&w, timeout_ms, 4);
  return EndPacket(&w, TYPE_KV_GET, seq);
}

// ---- reading ------------------------------------------------------------------------------------

int muster_decode(const unsigned char* packet, size_t size, muster_said* said) {
  const muster_text none = {"", 0};
  muster_said what = {
      .type = MUSTER_SAID_OTHER, .fd = -1, .key = none, .value = none, .body = none};
  muster_reader r = {packet, size, 1};
  const uint64_t version = GetNumber(&r, 2);
  const uint64_t type = GetNumber(&r, 2);
  const uint64_t length = GetNumber(&r, 4);
  GetNumber(&r, 8);
  if (!r.ok || version != MUSTER_LINK_VERSION || length != r.left) return 0;
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
  if (type == MUSTER_SAID_SAVED || type == MUSTER_SAID_SAVE_INTO || type == MUSTER_SAID_LOADED) {
    what.type = (int)type;
    what.body.data = (const char*)r.at;
    what.body.size = r.left;
  }
  if (r.ok) *said = what;
  return r.ok;
}
