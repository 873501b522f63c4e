#include "runtime/base/link_posix.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/check.h"

namespace muster {
namespace {

constexpr auto kSendTimeout = std::chrono::seconds(30);

// ready: within `timeout`; EINTR counts as not yet, so that a signal is seen soon.
Result<bool> Await(int fd, short events, Duration timeout) {
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  pollfd poll_fd{.fd = fd, .events = events, .revents = 0};
  const int n = poll(&poll_fd, 1, static_cast<int>(std::clamp<std::int64_t>(ms, 0, 3'600'000)));
  if (n < 0 && errno != EINTR) return ErrnoStatus("waiting on the link", errno);
  return n > 0;
}

Status Gone() {
  return Status(Code::kUnavailable, "the job daemon closed the link");
}

}  // namespace

Result<std::unique_ptr<RankLink>> RankLink::Open(const RankInfo& info) {
  if (!info.link_fd)
    return Status(Code::kNotFound, "this rank has no link: MUSTER_LINK_FD is not set");
  const int fd = *info.link_fd;
  int type = 0;
  socklen_t length = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) != 0 || type != SOCK_SEQPACKET) {
    return Status(Code::kInvalid, "MUSTER_LINK_FD is " + std::to_string(fd) +
                                      ", which is no link; only the launcher may set it");
  }
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return ErrnoStatus("MUSTER_LINK_FD", errno);
  std::unique_ptr<RankLink> link(new RankLink(fd));
  link->owner_ = getpid();
  RETURN_IF_ERROR(link->Send(link::Hello{.pid = link->owner_,
                                         .token = info.link_token,
                                         .local_rank = static_cast<std::uint32_t>(info.local_rank)},
                             /*wait=*/true));
  return link;
}

bool RankLink::Forked() const {
  return getpid() != owner_;
}

void RankLink::Report(const link::Progress& progress) {
  MutexLock lock(mutex_);
  const Status dropped = Send(progress, /*wait=*/false);
  static_cast<void>(dropped);
}

void RankLink::Bye(int exit_code) {
  MutexLock lock(mutex_);
  const Status dropped = Send(link::Bye{.exit_code = exit_code}, /*wait=*/false);
  static_cast<void>(dropped);
}

Status RankLink::Send(const link::ToJobd& message, bool wait) {
  if (Forked()) return Status(Code::kAborted, "a forked child has no link");
  const std::string packet = link::EncodePacket(message, seq_++);
  CHECK(packet.size() <= link::kPacketMax);
  const TimePoint deadline = RealClock().Now() + kSendTimeout;
  for (;;) {
    const ssize_t n = send(fd_.get(), packet.data(), packet.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) return {};
    if (errno == EINTR) continue;
    if (errno == EPIPE || errno == ECONNRESET) return Gone();
    if (errno != EAGAIN) return ErrnoStatus("sending on the link", errno);
    const Duration left = deadline - RealClock().Now();
    if (!wait || left <= Duration::zero()) {
      return Status(Code::kDeadline, "the job daemon does not read the link");
    }
    auto ready = muster::Await(fd_.get(), POLLOUT, left);
    if (!ready.ok()) return std::move(ready).status();
  }
}

Result<std::optional<RankLink::Packet>> RankLink::Receive(Duration timeout) {
  if (Forked()) return Status(Code::kAborted, "a forked child has no link");
  if (timeout > Duration::zero()) {
    auto ready = muster::Await(fd_.get(), POLLIN, timeout);
    if (!ready.ok()) return std::move(ready).status();
  }
  std::string bytes(link::kPacketMax, '\0');
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t n = recvmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return std::optional<Packet>();
  if (n == 0 || (n < 0 && errno == ECONNRESET)) return Gone();
  if (n < 0) return ErrnoStatus("receiving on the link", errno);
  Packet packet;
  const cmsghdr* rights = CMSG_FIRSTHDR(&header);
  if (rights != nullptr && rights->cmsg_level == SOL_SOCKET && rights->cmsg_type == SCM_RIGHTS) {
    int fd = -1;
    std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
    packet.fd.Reset(fd);
  }
  auto message = link::DecodePacket<link::ToRank>({bytes.data(), static_cast<std::size_t>(n)});
  if (!message.ok()) return std::move(message).status();
  packet.message = *std::move(message);
  return std::optional<Packet>(std::move(packet));
}

void RankLink::Keep(link::ToRank message) {
  if (std::holds_alternative<link::Stop>(message)) stop_requested_ = true;
  if (auto* saved = std::get_if<link::Saved>(&message)) saved_.push_back(std::move(*saved));
}

Status RankLink::Poll(Duration timeout) {
  MutexLock lock(mutex_);
  for (;;) {
    auto packet = Receive(timeout);
    if (!packet.ok()) return std::move(packet).status();
    if (!*packet) return {};
    if ((*packet)->message) Keep(*std::move((*packet)->message));
    timeout = Duration::zero();
  }
}

template <typename T>
Result<std::pair<T, UniqueFd>> RankLink::Await(TimePoint deadline, const char* what) {
  for (;;) {
    const Duration left = deadline - RealClock().Now();
    if (left <= Duration::zero()) {
      return Status(Code::kDeadline, std::string("the job daemon did not answer in time: ") + what);
    }
    auto packet = Receive(left);
    if (!packet.ok()) return std::move(packet).status().While(what);
    if (!*packet || !(*packet)->message) continue;
    link::ToRank& message = *(*packet)->message;
    if (auto* answer = std::get_if<T>(&message)) {
      return std::pair<T, UniqueFd>(std::move(*answer), std::move((*packet)->fd));
    }
    Keep(std::move(message));
  }
}

Result<RankLink::Memory> RankLink::GetMemory(const std::string& name, std::uint64_t bytes,
                                             Duration timeout) {
  MutexLock lock(mutex_);
  const TimePoint deadline = RealClock().Now() + timeout;
  RETURN_IF_ERROR(Send(link::MemoryGet{.name = name, .bytes = bytes}, /*wait=*/true));
  for (;;) {
    auto answer = Await<link::Memory>(deadline, "asking for memory");
    if (!answer.ok()) return std::move(answer).status();
    auto& [memory, fd] = *answer;
    if (memory.name != name) continue;
    if (!memory.error.empty()) return Status(Code::kExhausted, name + ": " + memory.error);
    if (!fd.valid() || memory.bytes < bytes) {
      return Status(Code::kInternal, "the job daemon handed out no such memory: " + name);
    }
    return Memory{.fd = std::move(fd), .bytes = memory.bytes, .busy = memory.busy};
  }
}

Status RankLink::KvSet(const std::string& key, const std::string& value) {
  MutexLock lock(mutex_);
  return Send(link::KvSet{.key = key, .value = value}, /*wait=*/true);
}

Result<std::string> RankLink::KvGet(const std::string& key, Duration timeout) {
  constexpr auto kAnswer = std::chrono::seconds(10);  // The daemon answers in time, found or not.
  MutexLock lock(mutex_);
  const auto ms = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
  const auto bounded = static_cast<std::uint32_t>(std::clamp<std::int64_t>(ms, 0, 1 << 30));
  RETURN_IF_ERROR(Send(link::KvGet{.key = key, .timeout_ms = bounded}, /*wait=*/true));
  const TimePoint deadline = RealClock().Now() + timeout + kAnswer;
  for (;;) {
    auto answer = Await<link::KvValue>(deadline, "asking for a key");
    if (!answer.ok()) return std::move(answer).status();
    link::KvValue& value = answer->first;
    if (value.key != key) continue;
    if (!value.found) return Status(Code::kDeadline, "nobody has set key " + key);
    return std::move(value.value);
  }
}

Status RankLink::Stage(const link::Staged& staged) {
  MutexLock lock(mutex_);
  constexpr std::size_t kTensorsBytes = link::kPacketMax / 2;  // Leaves room for the rest.
  link::Staged part = staged;
  part.tensors.clear();
  std::size_t size = 0;
  for (const link::StagedTensor& tensor : staged.tensors) {
    const std::size_t next = EncodeWire(tensor).size();
    if (size + next > kTensorsBytes) {
      part.more = true;
      RETURN_IF_ERROR(Send(part, /*wait=*/true));
      part.tensors.clear();
      part.host_state.clear();
      size = 0;
    }
    size += next;
    part.tensors.push_back(tensor);
  }
  part.more = false;
  return Send(part, /*wait=*/true);
}

Result<RankLink::Loaded> RankLink::Load(Duration timeout) {
  MutexLock lock(mutex_);
  const TimePoint deadline = RealClock().Now() + timeout;
  RETURN_IF_ERROR(Send(link::Load{}, /*wait=*/true));
  Loaded loaded;
  for (bool more = true; more;) {
    auto answer = Await<link::Loaded>(deadline, "loading a checkpoint");
    if (!answer.ok()) return std::move(answer).status();
    auto& [part, fd] = *answer;
    if (!part.error.empty()) return Status(Code::kUnavailable, part.error);
    if (fd.valid()) loaded.fd = std::move(fd);
    loaded.what.found = part.found;
    loaded.what.step = part.step;
    if (loaded.what.host_state.empty()) loaded.what.host_state = std::move(part.host_state);
    for (auto& tensor : part.tensors) loaded.what.tensors.push_back(std::move(tensor));
    more = part.more;
  }
  if (loaded.what.found && !loaded.fd.valid()) {
    return Status(Code::kInternal, "the job daemon sent a checkpoint without its bytes");
  }
  return loaded;
}

Result<std::optional<RankLink::Manifest>> RankLink::OpenCheckpoint(Duration timeout) {
  const TimePoint deadline = RealClock().Now() + timeout;
  RETURN_IF_ERROR(Send(link::OpenCheckpoint{}, /*wait=*/true));
  auto answer = Await<link::CheckpointOpened>(deadline, "opening a checkpoint");
  if (!answer.ok()) return std::move(answer).status();
  auto& [opened, fd] = *answer;
  if (!opened.error.empty()) return Status(Code::kUnavailable, opened.error);
  if (!opened.found) return std::optional<Manifest>();
  if (fd.valid()) return std::optional(Manifest{.bytes = opened.bytes, .fd = std::move(fd)});
  return Status(Code::kInternal, "the job daemon sent a checkpoint without its manifest");
}

Status RankLink::ReadBlocks(const link::ReadBlocks& request, Duration timeout) {
  const TimePoint deadline = RealClock().Now() + timeout;
  RETURN_IF_ERROR(Send(request, /*wait=*/true));
  const auto answer = Await<link::BlocksRead>(deadline, "reading a checkpoint");
  if (!answer.ok()) return answer.status();
  const std::string& error = answer->first.error;
  return error.empty() ? Status() : Status(Code::kUnavailable, error);
}

}  // namespace muster
