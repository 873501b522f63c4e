#include "launcher/coordinator/listeners_grpc.h"

#include <algorithm>

namespace muster {
namespace {

constexpr std::size_t kLines = 256;
constexpr std::size_t kChunks = 4;

}  // namespace

// ---- Watch --------------------------------------------------------------------------------------

void WatchStream::Show(std::shared_ptr<const JobPicture> picture) {
  const MutexLock lock(mutex_);
  if (!open()) return;
  picture_ = std::move(picture);
  Pump();
}

void WatchStream::Show(const JobProgress& progress) {
  const MutexLock lock(mutex_);
  if (!open()) return;
  progress_ = ToProto(progress);
  Pump();
}

void WatchStream::Show(const Story& story) {
  const MutexLock lock(mutex_);
  if (!open()) return;
  stories_.push_back(ToProto(story));
  if (stories_.size() > kLines) stories_.pop_front();
  Pump();
}

bool WatchStream::Next(v1::WatchEvent* out) {
  if (!stories_.empty()) {
    *out->mutable_story() = std::move(stories_.front());
    stories_.pop_front();
  } else if (progress_) {
    *out->mutable_progress() = *std::exchange(progress_, std::nullopt);
  } else if (picture_) {
    *out->mutable_job() = ToProto(*std::exchange(picture_, nullptr), true);
  } else {
    return false;
  }
  return true;
}

void WatchStream::Gone() {
  loop_.PostAlways([job = job_, id = id_](Front& front, const Moment&) { front.Unwatch(job, id); });
}

// ---- Attach -------------------------------------------------------------------------------------

void AttachStream::OnReadDone(bool ok) {
  if (!ok) {  // The client closed its side, or is gone.
    Release();
    EndWith({});
    return;
  }
  if (job_ != 0 || request_.job() == 0) {
    EndWith(Status(Code::kInvalid, "Attach takes one request, with a job"));
    return;
  }
  job_ = request_.job();
  const bool posted =
      loop_.Post([self = shared_from_this(), job = job_](Front& front, const Moment&) {
        const auto it = front.state().jobs.find(job);
        const Status may = it == front.state().jobs.end()
                               ? Status()
                               : MayTouch(self->identity_, it->second.owner.uid);
        if (!may.ok()) self->EndWith(may);
        if (may.ok()) front.Hold(job, self->id_, self);
      });
  if (!posted) {
    EndWith(Status(Code::kExhausted, "the coordinator is busy"));
    return;
  }
  const MutexLock lock(mutex_);
  if (open()) StartRead(&request_);
}

void AttachStream::Held() {
  const MutexLock lock(mutex_);
  held_ = true;
  Pump();
}

bool AttachStream::Next(v1::AttachReply*) {
  return std::exchange(held_, false);
}

void AttachStream::Release() {
  if (job_ == 0) return;
  loop_.PostAlways(
      [job = job_, id = id_](Front& front, const Moment& at) { front.Release(job, id, at); });
}

void AttachStream::Gone() {
  Release();
}

// ---- Logs ---------------------------------------------------------------------------------------

void LogsStream::SetFrom(const v1::LogsRequest& request) {
  const MutexLock lock(mutex_);
  for (const v1::LogOffset& from : request.from()) {
    offsets_[{from.attempt(), from.rank(), from.is_stderr()}] = from.offset();
  }
}

std::vector<LogOffset> LogsStream::Offsets() const {
  const MutexLock lock(mutex_);
  std::vector<LogOffset> all;
  for (const auto& [file, offset] : offsets_) {
    all.push_back({.attempt = std::get<0>(file),
                   .rank = std::get<1>(file),
                   .is_stderr = std::get<2>(file),
                   .offset = offset});
  }
  return all;
}

void LogsStream::Expect(std::uint64_t want, const NodeName& node) {
  const MutexLock lock(mutex_);
  if (!open()) return;
  wants_.push_back(want);
  relays_.Expect(want, node, weak_from_this());
}

LogsStream::Room LogsStream::Push(const NodeName& node, v1::PushedLog pushed,
                                  std::function<void()> resume) {
  const MutexLock lock(mutex_);
  if (!open()) return Room::kGone;
  std::uint64_t& next = offsets_[{pushed.attempt(), pushed.rank(), pushed.is_stderr()}];
  const std::uint64_t end = pushed.offset() + pushed.data().size();
  if (end > next) {
    const std::uint64_t known = next > pushed.offset() ? next - pushed.offset() : 0;
    v1::LogChunk& chunk = chunks_.emplace_back();
    chunk.set_attempt(pushed.attempt());
    chunk.set_rank(pushed.rank());
    chunk.set_node(node);
    chunk.set_is_stderr(pushed.is_stderr());
    chunk.set_skip(pushed.skip());
    chunk.set_skipped_lines(pushed.skipped_lines());
    for (int i = 0; i < std::min(pushed.time_at_size(), pushed.time_us_size()); ++i) {
      const std::uint64_t at = std::max<std::uint64_t>(pushed.time_at(i), known) - known;
      chunk.add_time_at(static_cast<std::uint32_t>(at));
      chunk.add_time_us(pushed.time_us(i));
    }
    chunk.set_offset(pushed.offset() + known);
    *chunk.mutable_data() = known == 0 ? std::move(*pushed.mutable_data())
                                       : pushed.data().substr(static_cast<std::size_t>(known));
    next = end;
    Pump();
  }
  if (chunks_.size() < kChunks) return Room::kMore;
  waiting_.push_back(std::move(resume));
  return Room::kWait;
}

bool LogsStream::Next(v1::LogChunk* out) {
  if (chunks_.empty()) return false;
  *out = std::move(chunks_.front());
  chunks_.pop_front();
  if (!waiting_.empty()) {
    waiting_.front()();
    waiting_.pop_front();
  }
  return true;
}

void LogsStream::Dropped() {
  chunks_.clear();
  for (const auto& resume : std::exchange(waiting_, {})) resume();
}

void LogsStream::Gone() {
  const std::vector<std::uint64_t> wants = [&] {
    const MutexLock lock(mutex_);
    return wants_;
  }();
  for (const std::uint64_t want : wants) relays_.Forget(want);
  loop_.PostAlways([id = id_](Front& front, const Moment&) { front.CloseLogs(id); });
}

}  // namespace muster
