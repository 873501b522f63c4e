#define _GNU_SOURCE
#include "runtime/client/channel_posix.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include "runtime/client/muster_client.h"

enum { POLL_MOST_MS = 3600000 };

static struct {
  // Constant after it was opened.
  int fd;
  pid_t owner;
  uint32_t local_rank;
  char token[64];
  // Sending.
  pthread_mutex_t out;
  uint64_t seq;
  unsigned char packet[MUSTER_PACKET_MAX];
  // Receiving: `turn` guards `taken`; what was received belongs to whoever took it.
  pthread_mutex_t turn;
  pthread_cond_t given;
  int taken;
  unsigned char received[MUSTER_PACKET_MAX];
  // Set once by anybody, never cleared; atomic.
  int lost;
} channel = {.fd = -1, .out = PTHREAD_MUTEX_INITIALIZER, .turn = PTHREAD_MUTEX_INITIALIZER};

static void Lose(void) {
  __atomic_store_n(&channel.lost, 1, __ATOMIC_RELAXED);
}

uint64_t muster_now_us(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

static int IsLink(int fd) {
  int type = 0, domain = 0;
  socklen_t length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_SEQPACKET) return 0;
  length = sizeof domain;
  return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 && domain == AF_UNIX;
}

int muster_channel_state(void) {
  if (channel.fd < 0) return MUSTER_NO_LINK;
  if (getpid() != channel.owner) return MUSTER_FORKED;
  return __atomic_load_n(&channel.lost, __ATOMIC_RELAXED) ? MUSTER_LOST : MUSTER_OK;
}

// ---- sending ------------------------------------------------------------------------------------

// What to encode: one of these.
typedef struct outgoing {
  enum { HELLO, REPORT, KV_SET, KV_GET, OTHER } what;
  int polls;
  const muster_report* report;
  muster_text key, value;
  uint32_t timeout_ms;
  size_t (*encode)(void* what, unsigned char* to, size_t room, uint64_t seq);
  void* other;
} outgoing;

static size_t Encode(const outgoing* message) {
  unsigned char* to = channel.packet;
  const size_t room = sizeof channel.packet;
  const uint64_t seq = channel.seq;
  switch (message->what) {
    case HELLO: {
      const muster_text token = {channel.token, strlen(channel.token)};
      const muster_hello hello = {(int32_t)channel.owner, token, channel.local_rank,
                                  message->polls};
      return muster_encode_hello(to, room, seq, &hello);
    }
    case REPORT:
      return muster_encode_report(to, room, seq, message->report);
    case KV_SET:
      return muster_encode_kv_set(to, room, seq, message->key, message->value);
    case KV_GET:
      return muster_encode_kv_get(to, room, seq, message->key, message->timeout_ms);
    case OTHER:
      return message->encode(message->other, to, room, seq);
  }
  return 0;
}

static int SendOnce(const outgoing* message) {
  int status = MUSTER_INVALID;
  pthread_mutex_lock(&channel.out);
  const size_t size = Encode(message);
  if (size > 0) {
    ssize_t n;
    do {
      n = send(channel.fd, channel.packet, size, MSG_DONTWAIT | MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    if (n >= 0) {
      ++channel.seq;
      status = MUSTER_OK;
    } else {
      status = errno == EAGAIN || errno == ENOBUFS ? MUSTER_TIMEOUT : MUSTER_LOST;
    }
  }
  pthread_mutex_unlock(&channel.out);
  if (status == MUSTER_LOST) Lose();
  return status;
}

// Milliseconds from now, at most an hour; rounded up, so that nobody spins at the end.
static int Left(uint64_t deadline_us) {
  const uint64_t now = muster_now_us();
  const uint64_t ms = deadline_us > now ? (deadline_us - now + 999) / 1000 : 0;
  return ms > POLL_MOST_MS ? POLL_MOST_MS : (int)ms;
}

static int Send(const outgoing* message, uint32_t patience_ms) {
  const int state = muster_channel_state();
  if (state != MUSTER_OK) return state;
  int status = SendOnce(message);
  const uint64_t deadline = patience_ms == 0 ? 0 : muster_now_us() + (uint64_t)patience_ms * 1000;
  // No lock is held while it waits: reports of other threads pass.
  while (status == MUSTER_TIMEOUT && deadline > 0) {
    const int left = Left(deadline);
    if (left == 0) break;
    struct pollfd writable = {channel.fd, POLLOUT, 0};
    poll(&writable, 1, left);
    status = SendOnce(message);
  }
  return status;
}

int muster_channel_report(const muster_report* report) {
  const outgoing message = {.what = REPORT, .report = report};
  return Send(&message, 0);
}

int muster_channel_kv_set(muster_text key, muster_text value, uint32_t patience_ms) {
  const outgoing message = {.what = KV_SET, .key = key, .value = value};
  return Send(&message, patience_ms);
}

int muster_channel_kv_get(muster_text key, uint32_t timeout_ms, uint32_t patience_ms) {
  const outgoing message = {.what = KV_GET, .key = key, .timeout_ms = timeout_ms};
  return Send(&message, patience_ms);
}

int muster_channel_send(size_t (*encode)(void* what, unsigned char* to, size_t room, uint64_t seq),
                        void* what, uint32_t patience_ms) {
  const outgoing message = {.what = OTHER, .encode = encode, .other = what};
  return Send(&message, patience_ms);
}

int muster_channel_polls(void) {
  const outgoing message = {.what = HELLO, .polls = 1};
  return Send(&message, 0);
}

// ---- opening ------------------------------------------------------------------------------------

int muster_channel_open(const muster_environment* who, char* complaint) {
  if (who->link_fd < 0) return MUSTER_NO_LINK;
  // A program that was executed by a rank inherits the variable and not the descriptor.
  if (!IsLink(who->link_fd)) return MUSTER_NO_LINK;
  if (fcntl(who->link_fd, F_SETFD, FD_CLOEXEC) != 0) {
    snprintf(complaint, 200, "MUSTER_LINK_FD: %s", strerror(errno));
    return MUSTER_NO_LINK;
  }
  pthread_condattr_t monotonic;
  pthread_condattr_init(&monotonic);
  pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
  pthread_cond_init(&channel.given, &monotonic);
  pthread_condattr_destroy(&monotonic);
  snprintf(channel.token, sizeof channel.token, "%s", who->link_token);
  channel.local_rank = (uint32_t)who->local_rank;
  channel.owner = getpid();
  channel.fd = who->link_fd;
  const outgoing hello = {.what = HELLO};
  return Send(&hello, 0);
}

// ---- receiving ----------------------------------------------------------------------------------

int muster_channel_turn(uint64_t deadline_us) {
  struct timespec until = {(time_t)(deadline_us / 1000000), (long)(deadline_us % 1000000) * 1000};
  int error = 0;
  pthread_mutex_lock(&channel.turn);
  while (channel.taken && deadline_us > 0 && error == 0) {
    error = pthread_cond_timedwait(&channel.given, &channel.turn, &until);
  }
  const int mine = !channel.taken;
  if (mine) channel.taken = 1;
  pthread_mutex_unlock(&channel.turn);
  return mine;
}

void muster_channel_turn_over(void) {
  pthread_mutex_lock(&channel.turn);
  channel.taken = 0;
  pthread_cond_signal(&channel.given);
  pthread_mutex_unlock(&channel.turn);
}

// What recv(2) says, and a descriptor that came along or -1.
static ssize_t Receive(int* fd) {
  struct iovec part = {channel.received, sizeof channel.received};
  union {
    struct cmsghdr header;
    char bytes[CMSG_SPACE(sizeof(int))];
  } control;
  struct msghdr message = {
      .msg_iov = &part, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  *fd = -1;
  const ssize_t n = recvmsg(channel.fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  const struct cmsghdr* header = n < 0 ? NULL : CMSG_FIRSTHDR(&message);
  if (header != NULL && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
    memcpy(fd, CMSG_DATA(header), sizeof *fd);
  }
  return n;
}

int muster_channel_receive(uint64_t deadline_us, muster_said* said) {
  for (;;) {
    const int state = muster_channel_state();
    if (state != MUSTER_OK) return state;
    int fd;
    const ssize_t n = Receive(&fd);
    if (n > 0 && muster_decode(channel.received, (size_t)n, said)) {
      said->fd = fd;
      return MUSTER_OK;
    }
    if (fd >= 0) close(fd);
    if (n < 0 && errno == EINTR) continue;
    if (n >= 0 || errno != EAGAIN) {  // Closed, broken, or something that no job daemon says.
      Lose();
      return MUSTER_LOST;
    }
    const int left = deadline_us == 0 ? 0 : Left(deadline_us);
    if (left == 0) return MUSTER_TIMEOUT;
    struct pollfd readable = {channel.fd, POLLIN, 0};
    poll(&readable, 1, left);
  }
}
