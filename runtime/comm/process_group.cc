#include "runtime/comm/process_group.h"

#include <algorithm>

#include "runtime/base/check.h"

namespace muster {
namespace {

// Tells the observer of a send or recv's end, when the rank sees it.
class ObservedTransfer final : public Work {
 public:
  ObservedTransfer(std::unique_ptr<Work> work, const Call& call)
      : Work(call.seq), work_(std::move(work)), call_(call) {}

  bool done() override {
    if (!told_ && work_->done()) static_cast<void>(wait(Duration::zero()));
    return told_;
  }
  Status wait(Duration timeout) override {
    Status status = work_->wait(timeout);
    if (!told_ && work_->done()) {
      told_ = true;
      call_.observer->Ended(call_.seq, call_.collective, status);
    }
    return status;
  }

 private:
  const std::unique_ptr<Work> work_;
  const Call call_;
  bool told_ = false;
};

}  // namespace

Result<std::unique_ptr<Backend>> Backend::Shrink(std::span<const int>) {
  return Status(Code::kUnimplemented,
                std::string(name()) +
                    ": the ranks of such a group live and die together; start "
                    "a new attempt");
}

Result<void*> Backend::Allocate(std::size_t bytes) {
  return memory_.emplace_back(new std::byte[bytes]).get();
}

// The one place that every call passes.
Status ProcessGroup::Admit(const Collective& collective, Call* call) {
  RETURN_IF_ERROR(backend_->aborted().reason());
  RETURN_IF_ERROR(Check(collective, rank(), world_size()));
  call->collective = collective;
  call->seq = collective.IsTransfer() ? ++transfers_ : ++collectives_;
  call->timeout = timeout_;
  call->observer = observer_;
  if (observer_ != nullptr) observer_->Began(call->seq, collective);
  return {};
}

Status ProcessGroup::Run(const Collective& collective) {
  if (collective.IsTransfer()) {
    const auto work = start(collective);
    Status status = work->wait(timeout_);
    // The caller takes its buffer back: the transfer must end, which only abort can do.
    if (!work->done()) backend_->Abort(status);
    return status;
  }
  Call call;
  RETURN_IF_ERROR(Admit(collective, &call));
  Status status = backend_->Run(call);
  if (observer_ != nullptr) observer_->Ended(call.seq, collective, status);
  if (!status.ok()) backend_->Abort(status);
  return status;
}

std::unique_ptr<Work> ProcessGroup::start(const Collective& collective, Then then) {
  Call call;
  const bool cannot = then && (!backend_->streams() || collective.IsTransfer());
  Status admitted =
      cannot ? Status(Code::kUnimplemented, std::string(NameOf(collective.kind)) + " over " +
                                                backend_->name() +
                                                " has no stream that something could follow in: "
                                                "use a collective of nccl")
             : Admit(collective, &call);
  call.then = std::move(then);
  if (!admitted.ok()) return std::make_unique<EndedWork>(call.seq, std::move(admitted));
  auto work = backend_->Start(call);
  CHECK(work != nullptr);
  if (observer_ == nullptr || !collective.IsTransfer()) return work;
  return std::make_unique<ObservedTransfer>(std::move(work), call);
}

Result<std::unique_ptr<ProcessGroup>> ProcessGroup::split(int color, int key) {
  const std::int64_t mine[] = {color, key};
  std::vector<std::int64_t> all(2 * static_cast<std::size_t>(world_size()));
  Collective ask = Collective::AllGather(std::span(mine), all);
  ask.kind = Collective::Kind::kSplit;
  RETURN_IF_ERROR(Run(ask));
  SplitPlan plan{.color = color, .seq = collectives_};
  for (int r = 0; color >= 0 && r < world_size(); ++r) {
    if (all[2 * static_cast<std::size_t>(r)] == color) plan.members.push_back(r);
  }
  std::stable_sort(plan.members.begin(), plan.members.end(), [&](int a, int b) {
    return all[2 * static_cast<std::size_t>(a) + 1] < all[2 * static_cast<std::size_t>(b) + 1];
  });
  const auto me = std::find(plan.members.begin(), plan.members.end(), rank());
  plan.rank = static_cast<int>(me - plan.members.begin());
  auto part = backend_->Split(plan);
  if (!part.ok()) {
    backend_->Abort(part.status());
    return std::move(part).status().While("split");
  }
  if (*part == nullptr) return std::unique_ptr<ProcessGroup>();
  auto group = std::make_unique<ProcessGroup>(*std::move(part), timeout_);
  if (observer_ != nullptr) group->own_observer_ = observer_->OfPart(collectives_, color);
  group->observe(group->own_observer_.get());
  return group;
}

Result<std::unique_ptr<ProcessGroup>> ProcessGroup::shrink(std::vector<int> lost) {
  std::sort(lost.begin(), lost.end());
  const bool twice = std::adjacent_find(lost.begin(), lost.end()) != lost.end();
  const bool known = lost.empty() || (lost.front() >= 0 && lost.back() < world_size());
  if (twice || !known || std::find(lost.begin(), lost.end(), rank()) != lost.end()) {
    std::string text;
    for (const int r : lost) text += (text.empty() ? "" : ", ") + std::to_string(r);
    return Status(Code::kInvalid, "shrink: the lost ranks are " + text +
                                      "; allowed are others than this one (" +
                                      std::to_string(rank()) + ") of 0 to " +
                                      std::to_string(world_size() - 1) + ", each once");
  }
  auto left = backend_->Shrink(lost);
  backend_->Abort(Status(Code::kAborted, "the group was shrunk"));
  if (!left.ok()) return std::move(left).status().While("shrink");
  auto group = std::make_unique<ProcessGroup>(*std::move(left), timeout_);
  if (observer_ != nullptr) group->own_observer_ = observer_->OfPart(collectives_, 0);
  group->observe(group->own_observer_.get());
  return group;
}

}  // namespace muster
