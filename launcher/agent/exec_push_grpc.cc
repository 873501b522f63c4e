#include "launcher/agent/exec_push_grpc.h"

#include "launcher/agent/input_pull_grpc.h"

namespace muster {

ExecPush::ExecPush(std::shared_ptr<v1::AgentLink::Stub> stub, ExecWish wish,
                   Result<ExecDoorPlace> door)
    : stub_(std::move(stub)), wish_(std::move(wish)), door_(std::move(door)) {
  thread_ = std::jthread([this] { Main(); });
}

ExecPush::~ExecPush() {
  context_.TryCancel();
}

void ExecPush::Main() {
  {
    const auto stream = stub_->PushExec(&context_);
    v1::PushedExec pushed;
    pushed.set_id(wish_.id);
    const bool wanted = stream->Write(pushed);
    // The coordinator says nothing; that the call ended is heard here.
    std::jthread ear([&] {
      for (v1::ExecWord word; stream->Read(&word);) {
      }
      stop_.Set();
    });
    ExecSaid said{.exit = 126, .failure = door_.ok() ? "" : door_.status().message()};
    if (wanted && door_.ok()) {
      said = RunBesideRank(*door_, wish_.asked, stop_.fd(),
                           [&](bool is_stderr, std::string_view data) {
                             pushed.set_is_stderr(is_stderr);
                             pushed.set_data(data.data(), data.size());
                             return stream->Write(pushed);
                           });
    }
    pushed.clear_data();
    pushed.set_ended(true);
    pushed.set_exit(said.exit);
    pushed.set_failure(said.failure);
    stream->WriteLast(pushed, grpc::WriteOptions());
    ear.join();
    stream->Finish();
  }
  done_ = true;
}

void DoorErrands::Start(const std::shared_ptr<v1::AgentLink::Stub>& stub, const ExecWish& wish,
                        const Result<ExecDoorPlace>& door) {
  const MutexLock lock(mutex_);
  errands_.remove_if([](const auto& errand) { return errand->done(); });
  if (errands_.size() >= kMost) return;
  if (wish.asked.input) errands_.push_back(std::make_unique<InputPull>(stub, wish, door));
  if (!wish.asked.input) errands_.push_back(std::make_unique<ExecPush>(stub, wish, door));
}

void DoorErrands::EndAll() {
  const MutexLock lock(mutex_);
  errands_.clear();
}

}  // namespace muster
