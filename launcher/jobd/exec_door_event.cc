#include "launcher/jobd/exec_door_event.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "launcher/jobd/doorstep_event.h"
#include "runtime/base/log.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr int kNotFound = 127, kNotExecutable = 126;

bool MayAsk(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
         (peer.uid == 0 || peer.uid == geteuid());
}

ExecSaid EndOf(int wait_status, const UniqueFd& report, const std::string& program) {
  ExecFailure failure;
  if (read(report.get(), &failure, sizeof failure) == sizeof failure) {
    return {.exit = failure.error == ENOENT ? kNotFound : kNotExecutable,
            .failure =
                "'" + program + "' cannot be run beside the rank: " + std::strerror(failure.error)};
  }
  return {.exit = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 128 + WTERMSIG(wait_status)};
}

}  // namespace

ExecDoor::Caller::~Caller() {
  if (readable != nullptr) event_free(readable);
  if (pid > 0) kill(-pid, SIGKILL);
}

ExecDoor::ExecDoor(event_base* base, Prepare prepare) : base_(base), prepare_(std::move(prepare)) {}

ExecDoor::~ExecDoor() {
  if (listener_ == nullptr) return;
  evconnlistener_free(listener_);
  unlink(path_.c_str());
}

Status ExecDoor::Listen(const std::string& path) {
  const Result<evconnlistener*> listener = ListenAt(base_, path, OnAccept, this);
  if (!listener.ok()) return listener.status();
  listener_ = *listener;
  path_ = path;
  return {};
}

void ExecDoor::OnAccept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void* pointer) {
  auto* self = static_cast<ExecDoor*>(pointer);
  UniqueFd owned(fd);
  if (!MayAsk(fd)) return Log(LogLevel::kWarning, "somebody else's exec was refused");
  Caller& caller = self->callers_.emplace_back();
  caller.door = self;
  caller.fd = std::move(owned);
  caller.readable = event_new(self->base_, fd, EV_READ, OnDescriptors, &caller);
  CHECK(caller.readable != nullptr && event_add(caller.readable, nullptr) == 0);
}

void ExecDoor::OnDescriptors(evutil_socket_t, short, void* pointer) {
  auto* caller = static_cast<Caller*>(pointer);
  ExecDoor* self = caller->door;
  if (!self->TakeDescriptors(*caller)) return self->Forget(*caller);
  event_free(std::exchange(caller->readable, nullptr));
  caller->channel = std::make_unique<FrameChannel>(
      self->base_, caller->fd.Release(),
      FrameChannel::Callbacks{
          .frame = [self, caller](std::string_view body) { self->Asked(*caller, body); },
          .ended = [self, caller](const std::string&) { self->Forget(*caller); }});
}

bool ExecDoor::TakeDescriptors(Caller& caller) {
  std::array<char, 1> byte{};
  iovec part = {.iov_base = byte.data(), .iov_len = byte.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  if (recvmsg(caller.fd.get(), &message, MSG_CMSG_CLOEXEC) != 1) return false;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(2 * sizeof(int))) {
    return false;
  }
  std::array<int, 2> fds{};
  std::memcpy(fds.data(), CMSG_DATA(header), sizeof fds);
  caller.out.Reset(fds[0]);
  caller.err.Reset(fds[1]);
  return true;
}

void ExecDoor::Asked(Caller& caller, std::string_view body) {
  const auto asked = DecodeWire<ExecAsked>(body);
  if (!asked.ok() || caller.pid != 0 || asked->argv.empty()) return;
  Result<Spawn> spawn = prepare_(*asked);
  if (!spawn.ok()) {
    return Say(caller, {.exit = kNotExecutable, .failure = spawn.status().message()});
  }
  int ends[2];
  CHECK(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
  caller.report.Reset(ends[0]);
  const UniqueFd report(ends[1]);
  spawn->out = caller.out.get();
  spawn->err = caller.err.get();
  spawn->report = report.get();
  const Result<pid_t> pid = Start(*spawn);
  caller.out.Reset();
  caller.err.Reset();
  if (!pid.ok()) return Say(caller, {.exit = kNotExecutable, .failure = pid.status().message()});
  caller.pid = *pid;
  caller.program = spawn->argv[0];
}

bool ExecDoor::Reaped(pid_t pid, int wait_status) {
  const auto found = std::find_if(callers_.begin(), callers_.end(),
                                  [&](const Caller& caller) { return caller.pid == pid; });
  if (found == callers_.end()) return false;
  found->pid = 0;
  Say(*found, EndOf(wait_status, found->report, found->program));
  return true;
}

void ExecDoor::EndAll() {
  for (const Caller& caller : callers_) {
    if (caller.pid > 0) kill(-caller.pid, SIGKILL);
  }
}

void ExecDoor::Say(Caller& caller, const ExecSaid& said) {
  caller.channel->Send(EncodeWire(said));
}

void ExecDoor::Forget(Caller& caller) {
  callers_.remove_if([&](const Caller& some) { return &some == &caller; });
}

}  // namespace muster
