#include "launcher/coordinator/loop_threads.h"

#include "runtime/base/log.h"

namespace muster {
namespace {

void LogFact(const Told& told) {
  Log(told.detail ? LogLevel::kDebug : LogLevel::kInfo, LogLine(told));
}

}  // namespace

Loop::Loop(const CoordinatorConfig& config, Journal& journal, Clock& clock,
           std::function<void(const Status&)> failed)
    : config_(config),
      journal_(journal),
      clock_(clock),
      failed_(std::move(failed)),
      front_(config, journal, &LogFact) {}

Loop::~Loop() {
  (void)Stop(Status(Code::kUnavailable, "the coordinator is stopping"));
}

Status Loop::Start() {
  auto loaded = journal_.Load();
  if (!loaded.ok()) return std::move(loaded).status().While("reading the journal");
  journal_.Start([this](const JournalProgress& progress) {
    PostAlways([this, progress](Front& front, const Moment&) {
      const bool first = front.failure().ok() && !progress.failure.ok();
      front.JournalMoved(progress);
      if (first) failed_(progress.failure);
    });
  });
  Mutex mutex;
  std::condition_variable_any done;
  std::optional<Status> began;
  PostAlways([&](Front& front, const Moment& at) {
    front.Begin(*std::move(loaded), at);
    front.Leave([&](const Status& durable) {
      const MutexLock lock(mutex);
      began = durable;
      done.notify_all();
    });
  });
  thread_ = std::jthread([this] { Main(); });
  mutex.lock();
  done.wait(mutex, [&] { return began.has_value(); });
  mutex.unlock();
  return *std::move(began);
}

bool Loop::Post(Work work) {
  {
    const MutexLock lock(mutex_);
    if (!ended_ && queue_.size() >= config_.queue) return false;
  }
  PostAlways(std::move(work));
  return true;
}

void Loop::PostAlways(Work work) {
  {
    const MutexLock lock(mutex_);
    if (!ended_) {
      queue_.push_back(std::move(work));
      wake_.notify_one();
      return;
    }
  }
  const MutexLock lock(afterwards_);
  work(front_, Now());
}

void Loop::Run(const Work& work) {
  Mutex mutex;
  std::condition_variable_any done;
  bool ran = false;
  PostAlways([&](Front& front, const Moment& at) {
    work(front, at);
    const MutexLock lock(mutex);
    ran = true;
    done.notify_all();
  });
  mutex.lock();
  done.wait(mutex, [&] { return ran; });
  mutex.unlock();
}

void Loop::Main() {
  for (;;) {
    std::deque<Work> batch;
    mutex_.lock();
    const TimePoint deadline = front_.NextDeadline();
    if (deadline == TimePoint::max()) {
      wake_.wait(mutex_, [&] { return !queue_.empty() || stopping_; });
    } else {
      wake_.wait_until(mutex_, deadline, [&] { return !queue_.empty() || stopping_; });
    }
    batch.swap(queue_);
    // What was posted before the end still runs: each poster waits for its answer.
    if (batch.empty() && stopping_) ended_ = true;
    const bool ended = ended_;
    mutex_.unlock();
    if (ended) return;
    for (const Work& work : batch) work(front_, Now());
    front_.Tick(Now());
  }
}

Status Loop::Stop(const Status& why) {
  Status stopped;
  if (thread_.joinable()) {
    Run([&](Front& front, const Moment&) {
      if (front.failure().ok()) journal_.Snapshot(front.state());
      front.Close(why);
    });
    mutex_.lock();
    stopping_ = true;
    wake_.notify_one();
    mutex_.unlock();
    thread_.join();
    stopped = journal_.Stop();
  }
  return stopped;
}

}  // namespace muster
