#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "runtime/client/channel_posix.h"
#include "runtime/client/environment_posix.h"
#include "runtime/client/muster_client.h"
#include "runtime/client/parts_posix.h"
#include "runtime/client/reporter.h"
#include "runtime/client/stop_plan.h"

enum { SEND_PATIENCE_MS = 30000, ANSWER_SLACK_MS = 5000, TELL_MS = 100, NOTE_MAX = 1000 };

#define LAST_CALL "muster.last_call"

static pthread_once_t opened = PTHREAD_ONCE_INIT;
static pthread_mutex_t reporting = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t stopping = PTHREAD_MUTEX_INITIALIZER;

static muster_environment who;    // Constant after Open.
static muster_reporter reporter;  // Guarded by `reporting`.
static muster_stop_plan plan;     // Guarded by `stopping`.
static int polls;                 // So.
static int told_to_stop;          // Atomic: a forked child may take no lock.
static int keys_full;             // So.

static void Open(void) {
  muster_read_environment(&who);
  muster_channel_open(&who, who.complaint);
  muster_reporter_begin(&reporter, muster_now_us());
  muster_stop_begin(&plan, who.rank, who.world_size);
}

const muster_environment* muster_who(void) {
  pthread_once(&opened, Open);
  return &who;
}

int muster_state(void) {
  pthread_once(&opened, Open);
  return muster_channel_state();
}

const char* muster_status_text(int status) {
  static const char* const kTexts[] = {"no error",
                                       "this process has no link to a job daemon of muster",
                                       "a forked child of a rank has no link",
                                       "the job daemon closed the link",
                                       "the time is over",
                                       "an argument that is not allowed",
                                       "the buffer is too small for the value",
                                       "the attempt has as many keys as it may have",
                                       "the job has no checkpoint store",
                                       "earlier saves are still being written",
                                       "the save failed",
                                       "the load failed",
                                       "there is no checkpoint"};
  return status >= 0 && status <= MUSTER_NONE ? kTexts[status] : "an unknown status";
}

// ---- who is this --------------------------------------------------------------------------------

int muster_rank(void) {
  return muster_who()->rank;
}
int muster_world_size(void) {
  return muster_who()->world_size;
}
int muster_local_rank(void) {
  return muster_who()->local_rank;
}
int muster_local_world_size(void) {
  return muster_who()->local_world_size;
}
int muster_node_rank(void) {
  return muster_who()->node_rank;
}
int muster_num_nodes(void) {
  return muster_who()->num_nodes;
}
int muster_attempt(void) {
  return muster_who()->attempt;
}
const char* muster_job_id(void) {
  return muster_who()->job_id;
}
const char* muster_run_id(void) {
  return muster_who()->run_id;
}
const char* muster_complaint(void) {
  return muster_who()->complaint;
}
int muster_linked(void) {
  return muster_state() == MUSTER_OK;
}

// ---- progress -----------------------------------------------------------------------------------

// With `reporting` held.  What cannot leave stays pending.
static int SendReport(int anyhow) {
  const uint64_t now = muster_now_us();
  if (!muster_reporter_due(&reporter, now) && !(anyhow && reporter.pending)) return MUSTER_OK;
  const muster_report report = muster_reporter_take(&reporter, now);
  const int status = muster_channel_report(&report);
  if (status == MUSTER_OK) muster_reporter_sent(&reporter);
  return status == MUSTER_TIMEOUT ? MUSTER_OK : status;
}

int muster_progress(uint64_t step, double loss, uint64_t tokens) {
  int status = muster_state();
  if (status != MUSTER_OK) return status;
  pthread_mutex_lock(&reporting);
  muster_reporter_progress(&reporter, step, loss, tokens, muster_now_us());
  status = SendReport(0);
  pthread_mutex_unlock(&reporting);
  return status;
}

int muster_enter_phase(int phase) {
  int status = muster_state();
  if (phase < MUSTER_PHASE_STARTING || phase > MUSTER_PHASE_EVALUATION) return MUSTER_INVALID;
  if (status != MUSTER_OK) return status;
  pthread_mutex_lock(&reporting);
  muster_reporter_phase(&reporter, phase, muster_now_us());
  status = SendReport(0);
  pthread_mutex_unlock(&reporting);
  return status;
}

int muster_note(const char* text) {
  int status = muster_state();
  if (text == NULL) return MUSTER_INVALID;
  if (status != MUSTER_OK) return status;
  size_t size = strlen(text);
  if (size > NOTE_MAX) {
    for (size = NOTE_MAX; size > 0 && ((unsigned char)text[size] & 0xC0) == 0x80;) --size;
  }
  pthread_mutex_lock(&reporting);
  muster_report report = muster_reporter_take(&reporter, muster_now_us());
  report.note.data = text;
  report.note.size = size;
  status = muster_channel_report(&report);
  if (status == MUSTER_OK) muster_reporter_sent(&reporter);
  pthread_mutex_unlock(&reporting);
  return status;
}

int muster_flush(void) {
  int status = muster_state();
  if (status != MUSTER_OK) return status;
  pthread_mutex_lock(&reporting);
  status = SendReport(1);
  pthread_mutex_unlock(&reporting);
  return status;
}

// What the last calls held back.  Who holds the lock now may never give it back.
__attribute__((destructor)) static void FlushAtExit(void) {
  if (muster_channel_state() != MUSTER_OK || pthread_mutex_trylock(&reporting) != 0) return;
  SendReport(1);
  pthread_mutex_unlock(&reporting);
}

// ---- what comes in ------------------------------------------------------------------------------

static int Is(muster_text text, const char* name) {
  return text.size == strlen(name) && memcmp(text.data, name, text.size) == 0;
}

// Keeps what concerns the end of the job or of a save, whoever received it.
void muster_keep(muster_said* said) {
  if (said->fd >= 0) close(said->fd);
  said->fd = -1;
  if (said->type == MUSTER_SAID_SAVED) muster_hear_saved(said);
  if (said->type == MUSTER_SAID_SAVE_INTO) muster_hear_late_place(said);
  if (said->type == MUSTER_SAID_KV_REFUSED) __atomic_store_n(&keys_full, 1, __ATOMIC_RELAXED);
  pthread_mutex_lock(&stopping);
  if (said->type == MUSTER_SAID_STOP) {
    muster_stop_asked(&plan, said->grace_ms, muster_now_us());
    __atomic_store_n(&told_to_stop, 1, __ATOMIC_RELAXED);
  } else if (said->type == MUSTER_SAID_KV_VALUE && said->found && Is(said->key, LAST_CALL)) {
    char number[24] = {0};
    memcpy(number, said->value.data, said->value.size < 23 ? said->value.size : 23);
    muster_stop_learned(&plan, strtoull(number, NULL, 10));
  }
  pthread_mutex_unlock(&stopping);
}

// ---- stop ---------------------------------------------------------------------------------------

// Takes in what has come, and waits for the last call to be told until the deadline (0: does not).
static void TakeIn(uint64_t deadline_us) {
  if (!muster_channel_turn(deadline_us)) return;  // Who has it keeps what comes.
  muster_said said;
  while (muster_channel_receive(deadline_us, &said) == MUSTER_OK) {
    muster_keep(&said);
    if (said.type == MUSTER_SAID_KV_VALUE && Is(said.key, LAST_CALL)) deadline_us = 0;
  }
  muster_channel_turn_over();
}

static void SetLast(uint64_t last) {
  char number[24];
  const int size = snprintf(number, sizeof number, "%llu", (unsigned long long)last);
  const muster_text key = {LAST_CALL, strlen(LAST_CALL)}, value = {number, (size_t)size};
  muster_channel_kv_set(key, value, TELL_MS);
}

static void GetLast(uint32_t grace_ms) {
  const muster_text key = {LAST_CALL, strlen(LAST_CALL)};
  if (muster_channel_kv_get(key, grace_ms, TELL_MS) == MUSTER_OK) {
    TakeIn(muster_now_us() + (uint64_t)TELL_MS * 1000);
  }
}

int muster_should_stop(void) {
  const int state = muster_state();
  if (state == MUSTER_FORKED) return __atomic_load_n(&told_to_stop, __ATOMIC_RELAXED);
  if (state != MUSTER_OK) return 0;
  TakeIn(0);
  pthread_mutex_lock(&stopping);
  if (!polls) polls = muster_channel_polls() == MUSTER_OK;
  const enum muster_stop_act act = muster_stop_call(&plan, muster_now_us());
  const uint64_t last = plan.last;
  const uint32_t grace_ms = plan.grace_ms;
  pthread_mutex_unlock(&stopping);
  if (act == MUSTER_GO_ON || act == MUSTER_STOP_NOW) return act == MUSTER_STOP_NOW;
  if (act == MUSTER_SET_LAST) SetLast(last);
  if (act == MUSTER_GET_LAST) GetLast(grace_ms);
  pthread_mutex_lock(&stopping);
  const int reached = muster_stop_reached(&plan);
  pthread_mutex_unlock(&stopping);
  return reached;
}

int64_t muster_grace_left_ms(void) {
  if (muster_state() != MUSTER_OK) return -1;
  TakeIn(0);
  pthread_mutex_lock(&stopping);
  const uint64_t end = plan.asked_us + (uint64_t)plan.grace_ms * 1000;
  const uint64_t now = muster_now_us();
  const int64_t left = !plan.asked ? -1 : now >= end ? 0 : (int64_t)((end - now) / 1000);
  pthread_mutex_unlock(&stopping);
  return left;
}

// ---- keys ---------------------------------------------------------------------------------------

static int IsKey(const char* key, size_t beside) {
  if (key == NULL || key[0] == '\0' || strncmp(key, "muster.", 7) == 0) return 0;
  return beside <= MUSTER_KV_MAX && strlen(key) <= MUSTER_KV_MAX - beside;
}

int muster_kv_set(const char* key, const void* value, size_t length) {
  const int state = muster_state();
  if (!IsKey(key, length) || (value == NULL && length > 0)) return MUSTER_INVALID;
  if (state != MUSTER_OK) return state;
  const muster_text name = {key, strlen(key)};
  const muster_text bytes = {value == NULL ? "" : (const char*)value, length};
  TakeIn(0);
  if (__atomic_load_n(&keys_full, __ATOMIC_RELAXED)) return MUSTER_FULL;
  return muster_channel_kv_set(name, bytes, SEND_PATIENCE_MS);
}

static int Give(muster_text value, void* buffer, size_t* length) {
  const size_t room = *length;
  *length = value.size;
  if (value.size > room) return MUSTER_TOO_SMALL;
  if (value.size > 0) memcpy(buffer, value.data, value.size);
  return MUSTER_OK;
}

// With the turn.  A "not found" before our own deadline answers a question that was given up.
static int AwaitValue(const char* key, uint64_t deadline, void* buffer, size_t* length) {
  muster_said said;
  for (;;) {
    const int status = muster_channel_receive(deadline + (uint64_t)ANSWER_SLACK_MS * 1000, &said);
    if (status != MUSTER_OK) return status;
    muster_keep(&said);
    if (said.type != MUSTER_SAID_KV_VALUE || !Is(said.key, key)) continue;
    if (said.found) return Give(said.value, buffer, length);
    if (muster_now_us() >= deadline) return MUSTER_TIMEOUT;
  }
}

static int GetKey(const char* key, void* buffer, size_t* length, uint32_t timeout_ms) {
  const uint64_t deadline = muster_now_us() + (uint64_t)timeout_ms * 1000;
  if (!muster_channel_turn(deadline)) return MUSTER_TIMEOUT;
  const uint64_t now = muster_now_us();
  const uint32_t left_ms = now >= deadline ? 0 : (uint32_t)((deadline - now + 999) / 1000);
  const uint64_t asked_until = now + (uint64_t)left_ms * 1000;
  const muster_text name = {key, strlen(key)};
  int status = muster_channel_kv_get(name, left_ms, SEND_PATIENCE_MS);
  if (status == MUSTER_OK) status = AwaitValue(key, asked_until, buffer, length);
  muster_channel_turn_over();
  return status;
}

int muster_kv_get(const char* key, void* buffer, size_t* length, uint32_t timeout_ms) {
  const int state = muster_state();
  if (!IsKey(key, 0) || length == NULL || (buffer == NULL && *length > 0)) return MUSTER_INVALID;
  return state == MUSTER_OK ? GetKey(key, buffer, length, timeout_ms) : state;
}
