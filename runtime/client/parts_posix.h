// What the files of the library share: the link's state, the memory of nodes, and sentences about
// what went wrong.
//
// Any thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "runtime/client/channel_posix.h"
#include "runtime/client/checkpoint_codec.h"
#include "runtime/client/environment_posix.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- client_posix.c -----------------------------------------------------------------------------

const muster_environment* muster_who(void);
int muster_state(void);  // Opens the link at the first call.
// Takes what everybody must hear of: the end of the job, saves that ended.  Closes `said->fd`.
void muster_keep(muster_said* said);

// ---- ask_posix.c --------------------------------------------------------------------------------

void muster_clear_error(void);
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
int muster_fail(int status, const char* format, ...);  // Returns `status`.
// Why a message that carries a descriptor came without.
void muster_no_descriptor(char* to, size_t room);

typedef struct muster_question {
  // Writes the next packet of the question, or, when the link was full, the same `again`.  *more
  // is set to whether another one follows.
  size_t (*encode)(void* what, unsigned char* to, size_t room, uint64_t seq, int again, int* more);
  int type;  // Of the answer.
  // Takes an answer: 1 when it was the last, 0 when another comes, -1 when it is none of ours.  A
  // descriptor that it leaves is closed.
  int (*use)(void* what, muster_said* said);
  void* what;
} muster_question;
// Keeps what else comes meanwhile.  MUSTER_OK, or why there was no answer.
int muster_ask(const muster_question* question, uint64_t deadline_us);
// Takes in what comes until `over` says so or the deadline.
int muster_listen(int (*over)(void), uint64_t deadline_us);

// ---- save_posix.c -------------------------------------------------------------------------------

void muster_hear_saved(const muster_said* said);
void muster_hear_late_place(const muster_said* said);
void muster_loaded_now(void);  // Earlier steps come again.

#ifdef __cplusplus
}
#endif
