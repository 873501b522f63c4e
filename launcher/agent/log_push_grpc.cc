#include "launcher/agent/log_push_grpc.h"

#include <algorithm>

namespace muster {
namespace {

constexpr std::size_t kPieceMost = 256 << 10;

}  // namespace

void LogPush::Begin(v1::AgentLink::Stub& stub) {
  stub.async()->PushLogs(&context_, &reply_, this);
  AddHold();  // Writes begin outside gRPC's own calls, too.
  StartCall();
  Tick();
}

void LogPush::Tick() {
  const MutexLock lock(mutex_);
  Pump();
}

void LogPush::Enough() {
  const MutexLock lock(mutex_);
  follow_ = false;
  Pump();
}

void LogPush::Abandon() {
  const MutexLock lock(mutex_);
  abandoned_ = true;
  context_.TryCancel();
  if (!writing_) Close();  // Else with the end of the write, which may have come off before.
}

bool LogPush::resting() {
  const MutexLock lock(mutex_);
  return !writing_ && !closed_;
}

void LogPush::Pump() {
  if (writing_ || closed_) return;
  auto bytes = source_->Next(kPieceMost);
  if (!bytes && follow_) return;
  out_.Clear();
  out_.set_want(want_);
  if (!bytes) {
    out_.set_end(true);
    StartWriteLast(&out_, grpc::WriteOptions());
    Close();
    return;
  }
  out_.set_attempt(bytes->file.attempt);
  out_.set_rank(bytes->file.rank);
  out_.set_is_stderr(bytes->file.is_stderr);
  out_.set_offset(bytes->offset);
  out_.set_skip(bytes->skip);
  out_.set_skipped_lines(bytes->skipped_lines);
  for (const LogTime& time : bytes->times) {
    const std::uint64_t at = std::max(time.offset, bytes->offset) - bytes->offset;
    out_.add_time_at(static_cast<std::uint32_t>(at));
    out_.add_time_us(time.wall_us);
  }
  out_.set_data(std::move(bytes->data));
  writing_ = true;
  StartWrite(&out_);
}

void LogPush::Close() {
  if (closed_) return;
  closed_ = true;
  RemoveHold();
}

void LogPush::OnWriteDone(bool ok) {
  const MutexLock lock(mutex_);
  if (closed_) return;
  writing_ = false;
  if (!ok || abandoned_) Close();
  Pump();
}

void LogPush::OnDone(const grpc::Status&) {
  const std::function<void()> done = done_;  // It may destroy this.
  done();
}

}  // namespace muster
