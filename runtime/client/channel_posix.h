// The socket of the link: opened once, silent in forked children, never in the way of training.
//
// Any thread.  Sending takes a lock for the time of one system call.  Receiving belongs to one
// thread at a time, the one that has the turn; Stop and the like are kept for whoever asks.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "runtime/client/codec.h"
#include "runtime/client/environment_posix.h"

#ifdef __cplusplus
extern "C" {
#endif

// Microseconds of a clock that never goes back.
uint64_t muster_now_us(void);

// Says Hello.  MUSTER_OK or MUSTER_NO_LINK; `complaint` (of 200) is set where a launcher is wrong.
int muster_channel_open(const muster_environment* who, char* complaint);

// MUSTER_OK when this process may speak, else why not.
int muster_channel_state(void);

// Hello once more: from now on this rank asks whether it should stop.
int muster_channel_polls(void);

// MUSTER_TIMEOUT: the job daemon does not read.  `patience_ms` 0: never waits.
int muster_channel_report(const muster_report* report);
int muster_channel_kv_set(muster_text key, muster_text value, uint32_t patience_ms);
int muster_channel_kv_get(muster_text key, uint32_t timeout_ms, uint32_t patience_ms);

// Any other packet; `encode` may be called more than once.
int muster_channel_send(size_t (*encode)(void* what, unsigned char* to, size_t room, uint64_t seq),
                        void* what, uint32_t patience_ms);

// The right to receive.  0: another thread has it, and kept it until `deadline_us` (0: not waited).
int muster_channel_turn(uint64_t deadline_us);
void muster_channel_turn_over(void);

// With the turn: the next message, which stays valid until the next call; at latest at deadline_us
// (0: only what is there).  MUSTER_OK, MUSTER_TIMEOUT or why there will be none.  A descriptor that
// comes along is the caller's.
int muster_channel_receive(uint64_t deadline_us, muster_said* said);

#ifdef __cplusplus
}
#endif
