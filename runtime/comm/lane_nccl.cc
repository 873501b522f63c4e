#include "runtime/comm/lane_nccl.h"

namespace muster {

OperationLane::~OperationLane() {
  const bool done = stream_ != nullptr && parts_.cuda->api().stream_query(stream_) == kCudaSuccess;
  if (done) static_cast<void>(parts_.cuda->api().stream_destroy(stream_));
}

void OperationLane::Push(std::shared_ptr<Operation> operation, End end) {
  waiting_.push_back({std::move(operation), std::move(end)});
}

Operation* OperationLane::oldest() const {
  if (!running_.empty()) return running_.front().operation.get();
  const bool begun = !waiting_.empty() && waiting_.front().operation->began != TimePoint{};
  return begun ? waiting_.front().operation.get() : nullptr;
}

bool OperationLane::Open() {
  if (communicator_ == nullptr) {
    auto made = make_();
    if (!made.ok()) broken_ = made.status();
    if (!made.ok() || *made == nullptr) return false;
    communicator_ = *std::move(made);
  }
  if (stream_ == nullptr) {
    broken_ = parts_.cuda->StatusOf(
        "a stream", parts_.cuda->api().stream_create_with_flags(&stream_, kCudaStreamNonBlocking));
  }
  return broken_.ok();
}

bool OperationLane::Advance(TimePoint now) {
  if (!broken_.ok() || idle()) return false;
  if (!waiting_.empty() && waiting_.front().operation->began == TimePoint{}) {
    waiting_.front().operation->began = now;
  }
  if (!Open()) return false;
  const Communicator::State state = communicator_->Poll();
  Check();
  if (broken_.ok() && state == Communicator::State::kFailed) broken_ = communicator_->why();
  if (!broken_.ok()) return true;
  bool moved = state == Communicator::State::kReady && Begin(now);
  moved = Finish() || moved;
  return moved;
}

// Puts steps into the stream, as far as NCCL takes them at once.
bool OperationLane::Begin(TimePoint now) {
  bool moved = false;
  while (broken_.ok() && !waiting_.empty()) {
    Operation& operation = *waiting_.front().operation;
    if (operation.began == TimePoint{}) operation.began = now;
    if (operation.steps.empty()) {
      broken_ = Record(operation);
      if (!broken_.ok()) break;
      running_.push_back(std::move(waiting_.front()));
      waiting_.pop_front();
      recorded_ = false;
      moved = true;
      continue;
    }
    Step& step = operation.steps.front();
    if (step.kind == Step::Kind::kAwait) {
      if (!recorded_) broken_ = Record(operation);
      recorded_ = true;
      if (!broken_.ok() || !Reached(operation.last)) break;
      recorded_ = false;
    }
    const auto run = std::move(step.run);
    operation.steps.pop_front();
    broken_ = run({.communicator = communicator_.get(), .stream = stream_});
    moved = true;
    if (broken_.ok() && communicator_->Poll() != Communicator::State::kReady) break;
  }
  return moved;
}

bool OperationLane::Finish() {
  bool moved = false;
  while (broken_.ok() && !running_.empty() && Reached(running_.front().operation->last)) {
    // Its check was in the stream before it; a rank that differs has the last word.
    Check();
    if (!broken_.ok()) break;
    Item item = std::move(running_.front());
    running_.pop_front();
    for (const auto& last : item.operation->finish) last();
    item.end({});
    moved = true;
  }
  return moved;
}

void OperationLane::Check() {
  const auto check = [this](const Item& item) {
    if (broken_.ok()) broken_ = item.operation->CheckAgreement();
  };
  for (const Item& item : running_) check(item);
  if (!waiting_.empty()) check(waiting_.front());
}

bool OperationLane::Reached(CudaEvent event) {
  const CudaError error = parts_.cuda->api().event_query(event);
  if (error == kCudaNotReady) return false;
  if (error != kCudaSuccess && broken_.ok()) broken_ = parts_.cuda->StatusOf("the GPU", error);
  return error == kCudaSuccess;
}

Status OperationLane::Record(Operation& operation) {
  if (operation.last == nullptr) {
    auto event = operation.TakeEvent();
    if (!event.ok()) return std::move(event).status();
    operation.last = *event;
  }
  return parts_.cuda->StatusOf("an event",
                               parts_.cuda->api().event_record(operation.last, stream_));
}

void OperationLane::Stop(bool keep) {
  if (communicator_ == nullptr) return;
  if (keep) {
    communicator_->RevokeAside();
  } else {
    communicator_->AbortAside();
  }
}

bool OperationLane::Stopped() {
  if (communicator_ != nullptr && !communicator_->released()) return false;
  return stream_ == nullptr || parts_.cuda->api().stream_query(stream_) != kCudaNotReady;
}

void OperationLane::EndAll(const Status& status) {
  const bool stopped = Stopped();
  if (!stopped) parts_.scratch->Abandon();
  for (auto* items : {&running_, &waiting_}) {
    std::deque<Item> left;
    left.swap(*items);
    for (Item& item : left) {
      if (!stopped) item.operation->Leak();
      item.end(status);
    }
  }
}

}  // namespace muster
