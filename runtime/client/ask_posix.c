#define _GNU_SOURCE
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "runtime/client/muster_checkpoint.h"
#include "runtime/client/parts_posix.h"
#include "runtime/client/saves.h"

enum { SEND_PATIENCE_MS = 30000, SLICE_US = 50000 };

static __thread char sentence[MUSTER_SENTENCE_MAX];

const char* muster_error(void) {
  return sentence;
}

void muster_clear_error(void) {
  sentence[0] = '\0';
}

int muster_fail(int status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(sentence, sizeof sentence, format, arguments);
  va_end(arguments);
  return status;
}

void muster_no_descriptor(char* to, size_t room) {
  struct rlimit limit = {0, 0};
  getrlimit(RLIMIT_NOFILE, &limit);
  snprintf(to, room,
           "the job daemon's memory did not arrive: this process has opened as many files as it "
           "may (%llu); close some, or raise the limit (ulimit -n, or muster run --ulimit "
           "nofile=65536)",
           (unsigned long long)limit.rlim_cur);
}

// One packet of a question, as the channel wants it.
typedef struct packet {
  const muster_question* question;
  int again, more;
} packet;

static size_t EncodePacket(void* what, unsigned char* to, size_t room, uint64_t seq) {
  packet* p = what;
  const int again = p->again;
  p->again = 1;
  return p->question->encode(p->question->what, to, room, seq, again, &p->more);
}

static int SendAll(const muster_question* question) {
  int status = MUSTER_OK;
  for (int more = 1; more && status == MUSTER_OK;) {
    packet p = {question, 0, 0};
    status = muster_channel_send(EncodePacket, &p, SEND_PATIENCE_MS);
    more = p.more;
  }
  return status;
}

// With the turn, so that nobody else gets the answer.
static int AwaitAnswer(const muster_question* question, uint64_t deadline_us) {
  for (;;) {
    muster_said said;
    const int status = muster_channel_receive(deadline_us, &said);
    if (status != MUSTER_OK) return status;
    const int used = said.type == question->type ? question->use(question->what, &said) : -1;
    if (used < 0) {
      muster_keep(&said);
    } else if (said.fd >= 0) {
      close(said.fd);
    }
    if (used > 0) return MUSTER_OK;
  }
}

int muster_ask(const muster_question* question, uint64_t deadline_us) {
  if (!muster_channel_turn(deadline_us)) return MUSTER_TIMEOUT;
  int status = SendAll(question);
  if (status == MUSTER_OK) status = AwaitAnswer(question, deadline_us);
  muster_channel_turn_over();
  return status;
}

int muster_listen(int (*over)(void), uint64_t deadline_us) {
  while (!over()) {
    const uint64_t now = muster_now_us();
    // Whoever has the turn may hear what we wait for, and keep the turn.
    const uint64_t slice = deadline_us < now + SLICE_US ? deadline_us : now + SLICE_US;
    if (muster_channel_turn(slice)) {
      muster_said said;
      int status = MUSTER_OK;
      while (!over() && status == MUSTER_OK) {
        status = muster_channel_receive(deadline_us, &said);
        if (status == MUSTER_OK) muster_keep(&said);
      }
      muster_channel_turn_over();
      if (status != MUSTER_OK) return over() ? MUSTER_OK : status;
    } else if (muster_now_us() >= deadline_us) {
      return MUSTER_TIMEOUT;
    }
  }
  return MUSTER_OK;
}
