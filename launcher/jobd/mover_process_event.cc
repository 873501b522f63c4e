#include "launcher/jobd/mover_process_event.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "launcher/jobd/spawn_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/mover_posix.h"
#include "runtime/base/wire.h"

namespace muster {

MoverProcess::~MoverProcess() {
  Kill();
  for (event* item : {readable_, writable_, look_}) {
    if (item != nullptr) event_free(item);
  }
  if (progress_ != nullptr) munmap(progress_, sizeof *progress_);
}

void MoverProcess::SetStore(const std::string& store, const std::string& run, Duration patience,
                            const std::string& local) {
  open_ = {.store = store, .run = run, .local = local};
  patience_ = patience;
}

void MoverProcess::LimitPatience(Duration most) {
  if (patience_ > Duration::zero()) return;
  patience_ = most;
  if (!asked_.empty()) LookAfter();
}

std::set<pid_t> MoverProcess::pids() const {
  std::set<pid_t> pids = left_behind_;
  if (pid_ > 0) pids.insert(pid_);
  return pids;
}

// A mover that was left behind may still write into the last one's.
Result<UniqueFd> MoverProcess::MakeProgressPage() {
  UniqueFd fd(memfd_create("muster-mover", MFD_CLOEXEC));
  if (!fd.valid() || ftruncate(fd.get(), sizeof(mover::Progress)) != 0) {
    return ErrnoStatus("memory for a mover's progress", errno);
  }
  void* page = mmap(nullptr, sizeof(mover::Progress), PROT_READ, MAP_SHARED, fd.get(), 0);
  if (page == MAP_FAILED) return ErrnoStatus("memory for a mover's progress", errno);
  if (progress_ != nullptr) munmap(progress_, sizeof *progress_);
  progress_ = static_cast<mover::Progress*>(page);
  return fd;
}

Status MoverProcess::StartChild() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus("socketpair", errno);
  }
  const UniqueFd theirs(ends[1]);
  socket_.Reset(ends[0]);
  auto page = MakeProgressPage();
  if (!page.ok()) return std::move(page).status();
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
             .payload = *std::move(page),
             .answer = [this](const mover::FromMover& answer, const UniqueFd&) {
               const auto* failed = std::get_if<mover::Failed>(&answer);
               if (failed != nullptr) Lose(Status(failed->code, failed->text));
             }};
  asked_.push_front(std::move(open));
  LookAfter();
  return {};
}

void MoverProcess::Ask(const mover::ToMover& request, Answer answer, UniqueFd payload) {
  if (asked_.empty()) LookAfter();
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
  LookAfter();
  asked.answer(**answer, std::move((*frame)->payload));
}

// From now on the first request is what the mover works on.
void MoverProcess::LookAfter() {
  asked_at_ = moved_at_ = RealClock().Now();
  moves_ = 0;
  if (look_ == nullptr) {
    look_ = event_new(base_, -1, EV_PERSIST, OnLook, this);
    CHECK(look_ != nullptr);
  }
  if (patience_ <= Duration::zero() || event_pending(look_, EV_TIMEOUT, nullptr) != 0) return;
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(patience_ / 10).count();
  const timeval every{.tv_sec = us / 1'000'000, .tv_usec = us % 1'000'000};
  event_add(look_, &every);
}

void MoverProcess::OnLook(evutil_socket_t, short, void* self) {
  static_cast<MoverProcess*>(self)->Look();
}

void MoverProcess::Look() {
  if (asked_.empty() || pid_ == 0) {
    event_del(look_);
    return;
  }
  const TimePoint now = RealClock().Now();
  const std::uint64_t moves = progress_->moves.load(std::memory_order_acquire);
  if (moves != moves_) {
    moves_ = moves;
    moved_at_ = now;
  }
  if (now - moved_at_ < patience_) return;
  using Seconds = std::chrono::duration<double>;
  char waited[32];
  std::snprintf(waited, sizeof waited, "%.1f s", Seconds(now - moved_at_).count());
  Lose(Status(Code::kDeadline, std::string("the store has not answered for ") + waited + ": " +
                                   progress_->Where(Seconds(moved_at_ - asked_at_).count())));
}

// The next request starts another one.
void MoverProcess::Lose(const Status& why) {
  Kill();
  for (event** item : {&readable_, &writable_}) {
    if (*item != nullptr) event_free(std::exchange(*item, nullptr));
  }
  socket_.Reset();
  if (pid_ > 0) left_behind_.insert(std::exchange(pid_, 0));
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
  if (left_behind_.erase(pid) > 0) return true;
  if (pid != pid_ || pid == 0) return false;
  pid_ = 0;
  Lose(Status(Code::kUnavailable, "the mover ended before it answered"));
  return true;
}

}  // namespace muster
