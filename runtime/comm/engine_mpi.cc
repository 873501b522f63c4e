#include "runtime/comm/engine_mpi.h"

#include <algorithm>

#include "runtime/base/check.h"
#include "runtime/comm/pause_posix.h"

namespace muster {
namespace {

std::string Ranks(std::vector<int> ranks) {
  std::sort(ranks.begin(), ranks.end());
  ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
  }
  return ranks.empty() ? "no rank" : text;
}

}  // namespace

// ---- Tasks --------------------------------------------------------------------------------------

bool MpiTask::Poll() {
  if (ended_) return false;
  if (abort_.set()) {
    End(abort_.reason());
    return true;
  }
  return Advance();
}

void MpiTask::End(Status status) {
  if (ended_) return;
  if (!status.ok()) Cancel();
  ended_ = true;
  status_ = std::move(status);
  Tell(status_);
}

// ---- The engine ---------------------------------------------------------------------------------

MpiEngine::MpiEngine(bool threads)
    : threads_(threads), progress_([this] {
        const MpiLock lock;
        return PollSome();
      }) {}

// In turn, until so many have not moved: each of them that waits makes MPI look at every socket.
ProgressThread::Seen MpiEngine::PollSome() {
  constexpr std::size_t kIdle = 3;
  bool moved = false;
  std::size_t idle = 0;
  for (std::size_t i = 0; i < tasks_.size() && idle < kIdle; ++i) {
    next_ = next_ + 1 < tasks_.size() ? next_ + 1 : 0;
    const bool moves = tasks_[next_]->Poll();
    moved = moved || moves;
    idle = moves ? 0 : idle + 1;
  }
  Forget();
  if (tasks_.empty()) return ProgressThread::Seen::kNothingLeft;
  return moved ? ProgressThread::Seen::kProgress : ProgressThread::Seen::kNothingNew;
}

void MpiEngine::Forget() {
  std::erase_if(tasks_, [](const auto& task) { return task->ended(); });
}

void MpiEngine::Begin(const std::shared_ptr<MpiTask>& task) {
  const MpiLock lock;
  task->Poll();
  if (!task->ended()) tasks_.push_back(task);
}

void MpiEngine::Leave() {
  if (threads_) progress_.Notify();
}

bool MpiEngine::Done(MpiTask& task) {
  progress_.Looked();
  const MpiLock lock;
  task.Poll();
  if (!task.ended()) PollSome();
  return task.ended();
}

void MpiEngine::Sweep() {
  const MpiLock lock;
  for (const auto& task : tasks_) task->Poll();
  Forget();
}

Status MpiEngine::Await(MpiTask& task, Duration timeout) {
  constexpr int kFast = 200;  // Then the core goes to whoever is behind: yielding is not enough.
  const ProgressThread::Elsewhere elsewhere(progress_);
  TimePoint deadline{};
  for (int look = 0;; ++look) {
    {
      const MpiLock lock;
      task.Poll();
      if (!task.ended()) PollSome();
      if (task.ended()) return task.status();
    }
    if (look < kFast) continue;
    const TimePoint now = RealClock().Now();
    if (look == kFast) deadline = now + timeout;
    if (now >= deadline) {
      const MpiLock lock;
      return Status(Code::kDeadline, task.Missing() + " did not answer in time");
    }
    PauseShort();
  }
}

// ---- Collectives --------------------------------------------------------------------------------

namespace {

// Tags of collectives are odd, those of users even.
constexpr int kChannels = 64;
constexpr std::uint64_t kSeqs = 1U << 14U;
constexpr int kCheckChannel = 0;
constexpr int kNamesChannel = 1;
constexpr int kFirstPartChannel = 2;
constexpr std::size_t kPartsAtOnce = 8;

int TagOf(std::uint64_t seq, int channel) {
  return 2 * (static_cast<int>(seq % kSeqs) * kChannels + channel) + 1;
}

class CollectiveTask final : public MpiTask {
 public:
  CollectiveTask(const MpiCollective& what, AbortFlag& abort)
      : MpiTask(abort),
        what_(what),
        plan_(what.call.collective, what.rank, what.ranks, what.part_bytes),
        parts_(plan_.parts()) {
    if (!what_.check) return;
    range_.least = range_.most = Hash(SignatureOf(what_.call.collective));
    check_ = std::make_unique<MpiRounds>(what_.comm, TagOf(what_.call.seq, kCheckChannel),
                                         SpreadHashes(range_, what_.rank, what_.ranks));
  }

  std::string Missing() const override {
    std::vector<int> ranks;
    if (check_ != nullptr) check_->Missing(ranks);
    if (names_ != nullptr) names_->Missing(ranks);
    for (const auto& part : running_) part->Missing(ranks);
    return Describe(SignatureOf(what_.call.collective)) + " (call " +
           std::to_string(what_.call.seq) + "): " + Ranks(std::move(ranks));
  }

 protected:
  bool Advance() override {
    bool moved = AdvanceParts();
    if (check_ != nullptr) moved = AdvanceCheck() || moved;
    if (ended()) return true;
    const bool agreed = check_ == nullptr || (check_->done() && names_ == nullptr);
    if (agreed && !broken_.ok()) End(broken_);
    if (agreed && started_ == parts_ && running_.empty()) End({});
    return moved;
  }

  void Cancel() override {
    running_.clear();
    check_.reset();
    names_.reset();
  }

  void Tell(const Status& status) override {
    const Call& call = what_.call;
    if (!status.ok()) abort_.Set(status);
    if (call.observer != nullptr) call.observer->Ended(call.seq, call.collective, status);
  }

 private:
  // A part that failed may be a sign of ranks that disagree: the check has the last word.
  bool AdvanceParts() {
    bool moved = false;
    while (broken_.ok()) {
      for (const auto& part : running_) {
        moved = part->Advance() || moved;
        if (broken_.ok()) broken_ = part->failed();
      }
      std::erase_if(running_, [](const auto& part) { return part->done(); });
      if (running_.size() == kPartsAtOnce || started_ == parts_) break;
      const int channel =
          kFirstPartChannel + static_cast<int>(started_ % (kChannels - kFirstPartChannel));
      running_.push_back(std::make_unique<MpiRounds>(what_.comm, TagOf(what_.call.seq, channel),
                                                     plan_.Part(started_++)));
      moved = true;
    }
    return moved;
  }

  bool AdvanceCheck() {
    bool moved = check_->Advance();
    if (!check_->failed().ok()) End(check_->failed());
    if (ended() || !check_->done() || range_.least == range_.most) return moved;
    if (names_ == nullptr) {
      all_.resize(static_cast<std::size_t>(what_.ranks));
      mine_ = SignatureOf(what_.call.collective);
      const auto call = Collective::AllGather(std::as_bytes(std::span(&mine_, 1)),
                                              std::as_writable_bytes(std::span(all_)));
      names_ = std::make_unique<MpiRounds>(what_.comm, TagOf(what_.call.seq, kNamesChannel),
                                           CallPlan(call, what_.rank, what_.ranks).Part(0));
      moved = true;
    }
    moved = names_->Advance() || moved;
    if (!names_->failed().ok()) {
      End(names_->failed());
    } else if (names_->done()) {
      End(CheckAgreement(all_, what_.call.seq));
    }
    return moved;
  }

  const MpiCollective what_;
  const CallPlan plan_;
  const std::size_t parts_;
  std::size_t started_ = 0;
  std::vector<std::unique_ptr<MpiRounds>> running_;
  Status broken_;
  HashRange range_;
  std::unique_ptr<MpiRounds> check_;
  Signature mine_;
  std::vector<Signature> all_;
  std::unique_ptr<MpiRounds> names_;
};

// A long message goes in pieces that MPI can count.
class TransferTask final : public MpiTask {
 public:
  TransferTask(MpiEngine& engine, MPI_Comm comm, const Call& call, AbortFlag& abort)
      : MpiTask(abort),
        call_(call.collective),
        queue_(engine.Recvs({comm, call_.root, call_.tag})) {
    constexpr std::size_t kMost = std::size_t{1} << 30U;
    const std::size_t most = call_.in_pieces ? CallPlan::kEagerBytes : kMost;
    const bool sends = call_.kind == Collective::Kind::kSend;
    const std::size_t bytes = sends ? call_.in.bytes() : call_.out.bytes();
    auto* at = static_cast<std::byte*>(sends ? const_cast<void*>(call_.in.data) : call_.out.data);
    Schedule schedule;
    Round& round = schedule.rounds.emplace_back();
    std::size_t done = 0;
    do {
      const std::size_t piece = std::min(bytes - done, most);
      round.transfers.push_back(
          {.peer = call_.root, .sends = sends, .at = at + done, .bytes = piece});
      done += piece;
    } while (done < bytes);
    rounds_ = std::make_unique<MpiRounds>(comm, 2 * call_.tag, std::move(schedule));
    if (!sends) queue_.push_back(this);
  }

  std::string Missing() const override { return Name() + ": rank " + std::to_string(call_.root); }

 protected:
  bool Advance() override {
    const bool receives = call_.kind == Collective::Kind::kRecv;
    if (receives && !rounds_->matched() && queue_.front() != this) return false;
    const bool moved = rounds_->Advance();
    if (receives && rounds_->matched()) LeaveQueue();
    if (!rounds_->failed().ok()) {
      End(Status(rounds_->failed()).While(Name()));
    } else if (rounds_->done()) {
      End({});
    }
    return moved;
  }
  void Cancel() override {
    LeaveQueue();
    rounds_.reset();
  }

 private:
  void LeaveQueue() { std::erase(queue_, this); }

  std::string Name() const {
    return Describe(SignatureOf(call_)) + " tag " + std::to_string(call_.tag);
  }

  const Collective call_;
  std::deque<const MpiTask*>& queue_;
  std::unique_ptr<MpiRounds> rounds_;
};

int MostUserTag() {
  const MpiLock lock;
  void* most = nullptr;
  int found = 0;
  MPI_Comm_get_attr(MPI_COMM_WORLD, MPI_TAG_UB, static_cast<void*>(&most), &found);
  const int bound = found != 0 ? *static_cast<int*>(most) : 32767;
  return bound / 2;
}

}  // namespace

std::shared_ptr<MpiTask> MakeTask(const MpiCollective& collective, AbortFlag& abort) {
  const MpiLock lock;
  return std::make_shared<CollectiveTask>(collective, abort);
}

std::unique_ptr<Work> StartTransfer(MpiEngine& engine, MPI_Comm comm, const Call& call,
                                    AbortFlag& abort) {
  const int tag = call.collective.tag;
  if (tag > MostUserTag()) {
    return std::make_unique<EndedWork>(
        call.seq,
        Status(Code::kInvalid, "the tag is " + std::to_string(tag) + "; this MPI has tags up to " +
                                   std::to_string(MostUserTag()) + " for users"));
  }
  std::shared_ptr<MpiTask> task;
  {
    const MpiLock lock;
    task = std::make_shared<TransferTask>(engine, comm, call, abort);
  }
  engine.Begin(task);
  engine.Leave();
  return std::make_unique<MpiEngine::PendingWork>(engine, task, call.seq);
}

Result<MPI_Comm> SplitComm(MPI_Comm comm, const SplitPlan& plan) {
  const MpiLock lock;
  MPI_Comm part = MPI_COMM_NULL;
  const int color = plan.members.empty() ? MPI_UNDEFINED : static_cast<int>(plan.color);
  RETURN_IF_ERROR(MpiStatus("MPI_Comm_split", MPI_Comm_split(comm, color, plan.rank, &part)));
  return part;
}

}  // namespace muster
