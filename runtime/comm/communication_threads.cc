#include "runtime/comm/communication_threads.h"

#include <condition_variable>
#include <deque>
#include <string>

#include "runtime/base/check.h"
#include "runtime/base/mutex.h"

namespace muster {
namespace {

constexpr std::size_t kPendingMost = 1000;

}  // namespace

// Guarded by its queue's mutex, but for the call.
struct CommunicationThread::Item {
  const Call call;
  bool ended = false;
  Status status;
};

struct CommunicationThread::Queue {
  Mutex mutex;
  std::condition_variable_any changed;
  std::deque<std::shared_ptr<Item>> items GUARDED_BY(mutex);  // The first is being carried out.
  bool closing GUARDED_BY(mutex) = false;
};

class CommunicationThread::QueuedWork final : public Work {
 public:
  QueuedWork(std::shared_ptr<Queue> queue, std::shared_ptr<Item> item)
      : Work(item->call.seq), queue_(std::move(queue)), item_(std::move(item)) {}

  bool done() override {
    MutexLock lock(queue_->mutex);
    return item_->ended;
  }

  Status wait(Duration timeout) override {
    const TimePoint deadline = RealClock().Now() + timeout;
    MutexLock lock(queue_->mutex);
    while (!item_->ended) {
      if (queue_->changed.wait_until(queue_->mutex, deadline) == std::cv_status::timeout &&
          !item_->ended) {
        return Status(Code::kDeadline, Describe(SignatureOf(item_->call.collective)) + " (call " +
                                           std::to_string(seq()) + ") has not ended yet");
      }
    }
    return item_->status;
  }

 private:
  const std::shared_ptr<Queue> queue_;
  const std::shared_ptr<Item> item_;
};

CommunicationThread::CommunicationThread(Body body, AbortFlag& abort)
    : body_(std::move(body)), abort_(abort), queue_(std::make_shared<Queue>()) {}

CommunicationThread::~CommunicationThread() {
  if (!thread_.joinable()) return;
  {
    MutexLock lock(queue_->mutex);
    queue_->closing = true;
    if (!queue_->items.empty()) {
      abort_.Set(Status(Code::kAborted, "the group was closed before the call had ended"));
    }
  }
  queue_->changed.notify_all();
  thread_.join();
}

Status CommunicationThread::Run(const Call& call) {
  bool idle = false;
  {
    MutexLock lock(queue_->mutex);
    idle = queue_->items.empty();
  }
  if (idle) return body_(call);
  Call queued = call;
  queued.observer = nullptr;  // Whoever called Run tells it.
  const auto work = Start(queued);
  Status status = work->wait(call.timeout);
  if (!work->done()) {
    // The caller may take its buffers away: not before the thread has let go of them.
    abort_.Set(status);
    while (!work->done()) static_cast<void>(work->wait(std::chrono::seconds(1)));
  }
  return status;
}

std::unique_ptr<Work> CommunicationThread::Start(const Call& call) {
  auto item = std::make_shared<Item>(Item{.call = call});
  {
    MutexLock lock(queue_->mutex);
    if (queue_->items.size() >= kPendingMost) {
      return std::make_unique<EndedWork>(
          call.seq, Status(Code::kExhausted, std::to_string(kPendingMost) +
                                                 " calls are pending; wait for some of them"));
    }
    queue_->items.push_back(item);
  }
  if (!thread_.joinable()) {
    thread_ = std::jthread([this] { Loop(*queue_, body_, abort_); });
  }
  queue_->changed.notify_all();
  return std::make_unique<QueuedWork>(queue_, std::move(item));
}

void CommunicationThread::Loop(Queue& queue, const Body& body, AbortFlag& abort) {
  for (;;) {
    std::shared_ptr<Item> item;
    {
      MutexLock lock(queue.mutex);
      while (queue.items.empty() && !queue.closing) queue.changed.wait(queue.mutex);
      if (queue.items.empty()) return;
      item = queue.items.front();
    }
    Status status = abort.reason();
    if (status.ok()) status = body(item->call);
    if (!status.ok()) abort.Set(status);
    if (item->call.observer != nullptr) {
      item->call.observer->Ended(item->call.seq, item->call.collective, status);
    }
    {
      MutexLock lock(queue.mutex);
      queue.items.pop_front();
      item->status = std::move(status);
      item->ended = true;
    }
    queue.changed.notify_all();
  }
}

}  // namespace muster
