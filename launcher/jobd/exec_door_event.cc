#include "launcher/jobd/exec_door_event.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "launcher/jobd/doorstep_event.h"
#include "runtime/base/descriptors_posix.h"
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

ExecDoor::ExecDoor(event_base* base, Prepare prepare, Input input, Dump dump)
    : base_(base), prepare_(std::move(prepare)), input_(std::move(input)), dump_(std::move(dump)) {}

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
  Result<ReceivedBytes> came = ReceiveDescriptors(caller.fd.get(), 1);
  if (!came.ok() || came->bytes.empty()) return false;
  if (came->descriptors.empty()) return true;
  if (came->descriptors.size() != 2) return false;
  caller.out = std::move(came->descriptors[0]);
  caller.err = std::move(came->descriptors[1]);
  return true;
}

void ExecDoor::Asked(Caller& caller, std::string_view body) {
  const auto asked = DecodeWire<ExecAsked>(body);
  if (!asked.ok() || caller.pid != 0 || caller.writes || caller.dump) return;
  if (asked->input) return AskedForInput(caller, *asked);
  if (asked->recorders) {
    caller.out.Reset();
    caller.err.Reset();
    caller.dump = dump_();
    return;
  }
  if (asked->argv.empty() || !caller.out.valid()) return;
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

// The frame goes past the channel, which has sent nothing: what it says and what it carries must
// come together.
void ExecDoor::AskedForInput(Caller& caller, const ExecAsked& asked) {
  const Result<UniqueFd> end = input_.take(asked);
  // Whoever was too late has lost nothing: the rank would not have read it.
  if (end.status().code() == Code::kAborted) return Say(caller, {});
  if (!end.ok()) return Say(caller, {.exit = kNotExecutable, .failure = end.status().message()});
  std::string frame = EncodeWire(ExecSaid{});
  const auto size = static_cast<std::uint32_t>(frame.size());
  frame.insert(0, reinterpret_cast<const char*>(&size), sizeof size);
  if (SendDescriptors(bufferevent_getfd(caller.channel->stream()), frame, {end->get()}).ok()) {
    caller.writes = asked.attempt;
  } else {
    input_.end(asked.attempt);
  }
}

bool ExecDoor::Reaped(pid_t pid, int wait_status) {
  const auto found = std::find_if(callers_.begin(), callers_.end(),
                                  [&](const Caller& caller) { return caller.pid == pid; });
  if (found == callers_.end()) return false;
  found->pid = 0;
  Say(*found, EndOf(wait_status, found->report, found->program));
  return true;
}

void ExecDoor::Dumped(std::uint64_t number) {
  for (Caller& caller : callers_) {
    if (!caller.dump || *caller.dump > number) continue;
    caller.dump.reset();
    Say(caller, {});
  }
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
  if (caller.writes) input_.end(*caller.writes);
  callers_.remove_if([&](const Caller& some) { return &some == &caller; });
}

}  // namespace muster
