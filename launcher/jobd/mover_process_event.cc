#include "launcher/jobd/mover_process_event.h"

#include <signal.h>
#include <sys/socket.h>

#include <cerrno>
#include <utility>

#include "launcher/jobd/spawn_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/mover_posix.h"
#include "runtime/base/wire.h"

namespace muster {

MoverProcess::~MoverProcess() {
  Kill();
  if (readable_ != nullptr) event_free(readable_);
  if (writable_ != nullptr) event_free(writable_);
}

void MoverProcess::SetStore(const std::string& store, const std::string& run) {
  open_ = {.store = store, .run = run};
}

Status MoverProcess::StartChild() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus("socketpair", errno);
  }
  const UniqueFd theirs(ends[1]);
  socket_.Reset(ends[0]);
  evutil_make_socket_nonblocking(socket_.get());
  Spawn spawn = SelfSpawn({"mover"});
  spawn.inherited = theirs.get();
  const Result<pid_t> pid = Start(spawn);
  if (!pid.ok()) return pid.status();
  pid_ = *pid;
  readable_ = event_new(base_, socket_.get(), EV_READ | EV_PERSIST, OnReadable, this);
  writable_ = event_new(base_, socket_.get(), EV_WRITE, OnWritable, this);
  CHECK(readable_ != nullptr && writable_ != nullptr && event_add(readable_, nullptr) == 0);
  Asked open{.body = EncodeVariant(mover::ToMover(open_)),
             .answer = [this](const mover::FromMover& answer, const UniqueFd&) {
               const auto* failed = std::get_if<mover::Failed>(&answer);
               if (failed != nullptr) Lose(Status(failed->code, failed->text));
             }};
  asked_.push_front(std::move(open));
  return {};
}

void MoverProcess::Ask(const mover::ToMover& request, Answer answer, UniqueFd payload) {
  asked_.push_back(
      {.body = EncodeVariant(request), .payload = std::move(payload), .answer = std::move(answer)});
  if (pid_ == 0) {
    if (const Status started = StartChild(); !started.ok()) return Lose(started);
  }
  Flush();
}

void MoverProcess::Flush() {
  for (Asked& asked : asked_) {
    if (asked.sent) continue;
    // Full, or gone: the one is told by the event, the other by the end of the socket.
    if (!mover::SendFrame(socket_.get(), 0, asked.body, asked.payload.get()).ok()) {
      event_add(writable_, nullptr);
      return;
    }
    asked.sent = true;
    asked.payload.Reset();
  }
}

void MoverProcess::OnReadable(evutil_socket_t, short, void* self) {
  static_cast<MoverProcess*>(self)->Hear();
}

void MoverProcess::OnWritable(evutil_socket_t, short, void* self) {
  static_cast<MoverProcess*>(self)->Flush();
}

void MoverProcess::Hear() {
  auto frame = mover::ReceiveFrame(socket_.get());
  if (!frame.ok() || !frame->has_value() || asked_.empty()) {
    return Lose(Status(Code::kUnavailable, "the mover ended before it answered"));
  }
  const auto answer = DecodeVariant<mover::FromMover>((*frame)->body);
  if (!answer.ok() || !answer->has_value()) {
    return Lose(Status(Code::kInternal, "the mover's answer makes no sense"));
  }
  const Asked asked = std::move(asked_.front());
  asked_.pop_front();
  asked.answer(**answer, std::move((*frame)->payload));
}

// The next request starts another one.
void MoverProcess::Lose(const Status& why) {
  Kill();
  for (event** item : {&readable_, &writable_}) {
    if (*item != nullptr) event_free(std::exchange(*item, nullptr));
  }
  socket_.Reset();
  pid_ = 0;
  const std::deque<Asked> unanswered = std::exchange(asked_, {});
  if (!unanswered.empty()) Log(LogLevel::kWarning, "mover lost: " + why.message());
  for (const Asked& asked : unanswered) {
    asked.answer(mover::Failed{.code = why.code(), .text = why.message()}, UniqueFd());
  }
}

void MoverProcess::Kill() {
  if (pid_ > 0) kill(pid_, SIGKILL);
}

bool MoverProcess::Reaped(pid_t pid) {
  if (pid != pid_ || pid == 0) return false;
  pid_ = 0;
  Lose(Status(Code::kUnavailable, "the mover ended before it answered"));
  return true;
}

}  // namespace muster
