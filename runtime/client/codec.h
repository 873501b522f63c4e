// The link's packets (runtime/base/link.h) in C99: what a client sends, and what it is told.
//
// Held against the C++ codec message by message (tests/unit/client/codec_test.cc).  Pure; any
// thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MUSTER_PACKET_MAX = 65536, MUSTER_HEADER_SIZE = 16, MUSTER_PHASES = 11 };

// ---- rank to jobd -------------------------------------------------------------------------------

// Bytes that need not end with 0.
typedef struct muster_text {
  const char* data;
  size_t size;
} muster_text;

typedef struct muster_hello {
  int32_t pid;
  muster_text token;
  uint32_t local_rank;
  int polls;  // It asks muster_should_stop.
} muster_hello;

typedef struct muster_report {
  uint64_t step;
  double loss;
  uint64_t tokens;
  uint64_t comm_us;
  int phase;
  muster_text note;
  uint64_t phase_us[MUSTER_PHASES];
} muster_report;

// Each writes one packet and returns its size; 0 when it does not fit.
size_t muster_encode_hello(unsigned char* to, size_t room, uint64_t seq, const muster_hello* hello);
size_t muster_encode_report(unsigned char* to, size_t room, uint64_t seq,
                            const muster_report* report);
size_t muster_encode_kv_set(unsigned char* to, size_t room, uint64_t seq, muster_text key,
                            muster_text value);
size_t muster_encode_kv_get(unsigned char* to, size_t room, uint64_t seq, muster_text key,
                            uint32_t timeout_ms);

// ---- jobd to rank -------------------------------------------------------------------------------

// Indexes of link::ToRank; the other messages there are none of a client's business.
enum muster_said_type {
  MUSTER_SAID_STOP = 0,
  MUSTER_SAID_KV_VALUE = 1,
  MUSTER_SAID_KV_REFUSED = 6,
  // Those of checkpoint_codec.h, in `body`.
  MUSTER_SAID_SAVED = 4,
  MUSTER_SAID_SAVE_INTO = 9,
  MUSTER_SAID_LOADED = 10,
  MUSTER_SAID_OTHER = -1
};

typedef struct muster_said {
  int type;
  uint32_t grace_ms;       // Stop.
  muster_text key, value;  // KvValue, KvRefused; they point into the packet.
  int found;
  int fd;            // A descriptor that came along, or -1; whoever receives it closes it.
  muster_text body;  // Of the other types.
} muster_said;

// 0: the packet makes no sense, and nothing after it can be trusted.
int muster_decode(const unsigned char* packet, size_t size, muster_said* said);

#ifdef __cplusplus
}
#endif
