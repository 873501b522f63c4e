#include "launcher/jobd/checkpoints_event.h"

#include <fcntl.h>

#include <utility>

#include "runtime/base/log.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

using checkpoint_words::Generation;
using checkpoint_words::SaveEnded;
using checkpoint_words::ShardEnded;

constexpr int kDeathsMax = 5;
constexpr std::size_t kTensorBytesMax = link::kPacketMax / 2;  // A packet holds more than these.

// The store's fault: not that of a mover that died, nor one that may pass: a checkpoint that is
// given up because the store does not answer never stops the job.
bool OfStore(const mover::Failed& failed) {
  if (failed.code == Code::kDeadline) return false;
  return failed.code != Code::kUnavailable || failed.text.find("the mover ended") != 0;
}

// The mover died over a request that may be made again, and not too often yet.
bool MayRetry(const mover::FromMover& answer, int deaths) {
  const auto* failed = std::get_if<mover::Failed>(&answer);
  if (failed == nullptr || failed->code == Code::kDeadline) return false;
  return !OfStore(*failed) && deaths < kDeathsMax;
}

std::string TextOf(const mover::FromMover& answer) {
  const auto* failed = std::get_if<mover::Failed>(&answer);
  return failed == nullptr ? "the mover answered something else" : failed->text;
}

}  // namespace

Checkpoints::Checkpoints(event_base* base, LinkServices& services, Callbacks callbacks)
    : services_(services), callbacks_(std::move(callbacks)), mover_(base) {}

void Checkpoints::Begin(const StartAttempt& order) {
  End();
  order_ = order;
  active_ = true;
  ++life_;
  mover_.SetStore(order.checkpoint.store, order.run_id,
                  std::chrono::milliseconds(order.checkpoint.deadline_ms));
  if (!order.checkpoint.store.empty() && order.host_index == 0) Claim();
}

void Checkpoints::End() {
  active_ = false;
  generation_.reset();
  waiting_.clear();
  parts_.clear();
  stagers_.clear();
  tries_.clear();
  saves_.clear();
  askers_.clear();
}

// ---- the generation -----------------------------------------------------------------------------

void Checkpoints::Claim(int deaths) {
  mover_.Ask(mover::Claim{.attempt = order_->attempt},
             [this, life = life_, deaths](const mover::FromMover& answer, const UniqueFd&) {
               MaybeSettled();
               if (life != life_ || !active_) return;
               const auto* claimed = std::get_if<mover::Claimed>(&answer);
               // What a mover that was left behind claims late is another generation.
               const auto* failed = std::get_if<mover::Failed>(&answer);
               const bool late = failed != nullptr && failed->code == Code::kDeadline;
               if (MayRetry(answer, deaths) || (late && deaths == 0)) return Claim(deaths + 1);
               Generation generation;
               if (claimed != nullptr) {
                 generation.generation = claimed->generation;
                 generation.nonce = claimed->nonce;
               } else {
                 generation.error = TextOf(answer);
                 StoreFailed(generation.error);
               }
               TellAll(generation);
               On(0, generation);
             });
}

void Checkpoints::Welcome(std::uint32_t host_index) {
  if (generation_) Tell(host_index, *generation_);
}

void Checkpoints::On(std::uint32_t, const Generation& message) {
  generation_ = message;
  for (const auto& ready : std::exchange(waiting_, {})) ready();
}

// ---- a save -------------------------------------------------------------------------------------

void Checkpoints::Staged(std::uint32_t local_rank, const link::Staged& part) {
  link::Staged& whole = parts_[local_rank];
  whole.step = part.step;
  whole.memory = part.memory;
  whole.tensors.insert(whole.tensors.end(), part.tensors.begin(), part.tensors.end());
  if (!part.host_state.empty()) whole.host_state = part.host_state;
  if (part.more || !active_) return;
  const link::Staged staged = std::move(parts_.extract(local_rank).mapped());
  if (order_->checkpoint.store.empty()) {
    return services_.Say(local_rank,
                         link::Saved{.step = staged.step, .error = "the job has no store"});
  }
  if (generation_) return Write(local_rank, staged);
  waiting_.emplace_back([this, local_rank, staged] { Write(local_rank, staged); });
}

void Checkpoints::Write(std::uint32_t local_rank, const link::Staged& staged) {
  stagers_[staged.step] = local_rank;
  ShardEnded shard{.step = staged.step,
                   .nonce = generation_->nonce + tries_[staged.step]++,
                   .host_state = staged.host_state,
                   .error = generation_->error};
  if (staged.memory.empty()) {
    shard.error = "node " + order_->hosts[order_->host_index].node +
                  " skipped it: both of its staging memories are still being written";
  }
  AskWrite(shard, staged, 0);
}

void Checkpoints::AskWrite(const ShardEnded& shard, const link::Staged& staged, int deaths) {
  ShardEnded ended = shard;
  const auto block = services_.memory().Find(staged.memory);
  if (!block.ok()) ended.error = block.status().message();
  if (!ended.error.empty()) return ShardDone(ended);
  reading_.emplace(staged.memory, life_);
  mover_.Ask(
      mover::Write{.generation = generation_->generation,
                   .step = staged.step,
                   .nonce = shard.nonce,
                   .node = order_->host_index,
                   .nodes = static_cast<std::uint32_t>(order_->hosts.size()),
                   .tensors = staged.tensors,
                   .again = deaths > 0,
                   .bytes_per_s = order_->checkpoint.bytes_per_s / order_->hosts.size()},
      [this, life = life_, shard = ended, staged, deaths](const mover::FromMover& answer,
                                                          const UniqueFd&) mutable {
        DoneReading(staged.memory, staged.step);
        MaybeSettled();
        if (life != life_ || !active_) return;
        if (MayRetry(answer, deaths)) return AskWrite(shard, staged, deaths + 1);
        if (const auto* written = std::get_if<mover::Written>(&answer)) {
          shard.report = written->report;
        } else {
          shard.error = "node " + order_->hosts[order_->host_index].node + ": " + TextOf(answer);
          const auto* failed = std::get_if<mover::Failed>(&answer);
          shard.store_failed = failed == nullptr || OfStore(*failed);
        }
        ShardDone(shard);
      },
      UniqueFd(fcntl(block->fd, F_DUPFD_CLOEXEC, 0)));
}

bool Checkpoints::Reads(std::uint32_t local_rank, const std::string& memory) {
  const auto reader = reading_.find(memory);
  if (reader == reading_.end()) return false;
  if (reader->second != life_) askers_[memory] = local_rank;
  return true;
}

void Checkpoints::DoneReading(const std::string& memory, std::uint64_t step) {
  reading_.erase(reading_.find(memory));
  const auto asker = askers_.find(memory);
  if (asker == askers_.end() || reading_.contains(memory)) return;
  services_.Say(asker->second,
                link::Saved{.step = step, .error = "the attempt that staged it is over"});
  askers_.erase(asker);
}

void Checkpoints::ShardDone(const ShardEnded& shard) {
  if (order_->host_index == 0) return On(0, shard);
  Tell(0, shard);
}

// The head's: every node says once how its part went, then the save is committed or given up.
void Checkpoints::On(std::uint32_t from, const ShardEnded& message) {
  if (!active_ || order_->host_index != 0) return;
  Save& save = saves_[message.step];
  save.ended[from] = message;
  if (save.ended.size() < order_->hosts.size()) return;
  const Save whole = std::move(saves_.extract(message.step).mapped());
  for (const auto& [host, shard] : whole.ended) {
    if (shard.error.empty()) continue;
    EndSave(message.step, shard.error);
    if (shard.store_failed) StoreFailed(shard.error);
    return;
  }
  Commit(message.step, whole);
}

void Checkpoints::Commit(std::uint64_t step, const Save& save) {
  const ShardEnded& first = save.ended.begin()->second;
  mover::Commit commit{.generation = generation_->generation,
                       .step = step,
                       .nonce = first.nonce,
                       .nodes = static_cast<std::uint32_t>(order_->hosts.size()),
                       .host_state = first.host_state,
                       .keep = order_->checkpoint.keep};
  for (const auto& [host, shard] : save.ended) commit.reports.push_back(shard.report);
  AskCommit(commit, 0);
}

void Checkpoints::AskCommit(const mover::Commit& commit, int deaths) {
  mover::Commit request = commit;
  request.again = deaths > 0;
  mover_.Ask(request,
             [this, life = life_, commit, deaths](const mover::FromMover& answer, const UniqueFd&) {
               // Committed is committed, also when the attempt is over by now.
               if (std::holds_alternative<mover::Committed>(answer))
                 services_.SetCommitted(commit.step);
               MaybeSettled();
               if (life != life_ || !active_) return;
               if (MayRetry(answer, deaths)) return AskCommit(commit, deaths + 1);
               Committed(commit.step, answer);
             });
}

void Checkpoints::Committed(std::uint64_t step, const mover::FromMover& answer) {
  if (std::holds_alternative<mover::Committed>(answer)) return EndSave(step, "");
  EndSave(step, TextOf(answer));
  const auto* failed = std::get_if<mover::Failed>(&answer);
  if (failed != nullptr && failed->code == Code::kAborted) {
    return callbacks_.failed({.kind = CauseKind::kSuperseded, .text = failed->text});
  }
  if (failed == nullptr || OfStore(*failed)) StoreFailed(TextOf(answer));
}

void Checkpoints::EndSave(std::uint64_t step, const std::string& error) {
  const SaveEnded ended{.step = step, .error = error};
  TellAll(ended);
  On(0, ended);
}

void Checkpoints::On(std::uint32_t, const SaveEnded& message) {
  const auto stager = stagers_.find(message.step);
  if (stager == stagers_.end()) return;
  const std::uint32_t local_rank = stager->second;
  stagers_.erase(stager);
  services_.Say(local_rank, link::Saved{.step = message.step,
                                        .error = message.error,
                                        .optional = !order_->checkpoint.required});
}

void Checkpoints::StoreFailed(const std::string& text) {
  const std::string told = "the store " + order_->checkpoint.store + " failed: " + text;
  if (order_->checkpoint.required) {
    return callbacks_.failed({.kind = CauseKind::kStore, .text = told});
  }
  services_.Note(told + "; the job goes on without this checkpoint");
}

// ---- a load -------------------------------------------------------------------------------------

// A run is claimed before anything of it is read.
template <typename Answer>
void Checkpoints::WithGeneration(std::uint32_t local_rank, const std::function<void()>& act) {
  if (!active_ || order_->checkpoint.store.empty()) return services_.Say(local_rank, Answer{});
  const auto ready = [this, local_rank, act] {
    // Without a generation nothing will be saved; what is there can be read all the same.
    if (generation_->error.empty() || !order_->checkpoint.required) return act();
    Answer answer;
    answer.error = generation_->error;
    services_.Say(local_rank, answer);
  };
  if (generation_) return ready();
  waiting_.emplace_back(ready);
}

void Checkpoints::Load(std::uint32_t local_rank) {
  WithGeneration<link::Loaded>(local_rank, [this, local_rank] { AskLoad(local_rank); });
}

void Checkpoints::Open(std::uint32_t local_rank) {
  WithGeneration<link::CheckpointOpened>(local_rank, [this, local_rank] { AskOpen(local_rank); });
}

// Also on a node that has opened nothing itself: another one's leader has, and passed it on.
void Checkpoints::Read(std::uint32_t local_rank, const link::ReadBlocks& read) {
  WithGeneration<link::BlocksRead>(local_rank,
                                   [this, local_rank, read] { AskRead(local_rank, read, 0); });
}

void Checkpoints::AskOpen(std::uint32_t local_rank, int deaths) {
  mover_.Ask(mover::OpenNewest{}, [this, life = life_, local_rank, deaths](
                                      const mover::FromMover& answer, UniqueFd payload) {
    MaybeSettled();
    if (life != life_ || !active_) return;
    if (MayRetry(answer, deaths)) return AskOpen(local_rank, deaths + 1);
    const auto* opened = std::get_if<mover::CheckpointOpened>(&answer);
    if (opened == nullptr) {
      return services_.Say(local_rank, link::CheckpointOpened{.error = TextOf(answer)});
    }
    for (const std::string& note : opened->notes) services_.Note(note);
    services_.Say(local_rank,
                  link::CheckpointOpened{.found = opened->found, .bytes = opened->bytes},
                  opened->found ? std::make_shared<UniqueFd>(std::move(payload)) : nullptr);
  });
}

void Checkpoints::AskRead(std::uint32_t local_rank, const link::ReadBlocks& read, int deaths) {
  const auto block = services_.memory().Find(read.memory);
  if (!block.ok()) {
    return services_.Say(local_rank, link::BlocksRead{.error = block.status().message()});
  }
  mover_.Ask(
      mover::ReadBlocks{.generation = read.generation,
                        .step = read.step,
                        .nonce = read.nonce,
                        .file = read.file,
                        .file_size = read.file_size,
                        .first = read.first,
                        .crcs = read.crcs},
      [this, life = life_, local_rank, read, deaths](const mover::FromMover& answer,
                                                     const UniqueFd&) {
        MaybeSettled();
        if (life != life_ || !active_) return;
        if (MayRetry(answer, deaths)) return AskRead(local_rank, read, deaths + 1);
        const bool done = std::holds_alternative<mover::BlocksRead>(answer);
        services_.Say(local_rank, link::BlocksRead{.error = done ? "" : TextOf(answer)});
      },
      UniqueFd(fcntl(block->fd, F_DUPFD_CLOEXEC, 0)));
}

void Checkpoints::AskLoad(std::uint32_t local_rank, int deaths) {
  mover_.Ask(mover::Load{}, [this, life = life_, local_rank, deaths](const mover::FromMover& answer,
                                                                     UniqueFd payload) {
    MaybeSettled();
    if (life != life_ || !active_) return;
    if (MayRetry(answer, deaths)) return AskLoad(local_rank, deaths + 1);
    TellLoaded(local_rank, answer, std::move(payload));
  });
}

void Checkpoints::TellLoaded(std::uint32_t local_rank, const mover::FromMover& answer,
                             UniqueFd payload) {
  const auto* loaded = std::get_if<mover::Loaded>(&answer);
  if (loaded == nullptr) return services_.Say(local_rank, link::Loaded{.error = TextOf(answer)});
  for (const std::string& note : loaded->notes) services_.Note(note);
  link::Loaded part{.found = loaded->found, .step = loaded->step, .host_state = loaded->host_state};
  std::size_t size = 0;
  for (const link::StagedTensor& tensor : loaded->tensors) {
    const std::size_t next = EncodeWire(tensor).size();
    if (size + next > kTensorBytesMax) {
      part.more = true;
      services_.Say(local_rank, part);
      part.tensors.clear();
      part.host_state.clear();
      size = 0;
    }
    size += next;
    part.tensors.push_back(tensor);
  }
  part.more = false;
  services_.Say(local_rank, part,
                loaded->found ? std::make_shared<UniqueFd>(std::move(payload)) : nullptr);
}

// ---- the other daemons --------------------------------------------------------------------------

void Checkpoints::Tell(std::uint32_t host_index, const checkpoint_words::Message& message) {
  callbacks_.send(host_index, order_->attempt, EncodeVariant(message));
}

void Checkpoints::TellAll(const checkpoint_words::Message& message) {
  for (std::uint32_t host = 1; host < order_->hosts.size(); ++host) Tell(host, message);
}

void Checkpoints::Hear(std::uint32_t from, const std::string& body) {
  const auto message = DecodeVariant<checkpoint_words::Message>(body);
  if (!active_ || !message.ok() || !message->has_value()) return;
  std::visit([&](const auto& m) { On(from, m); }, **message);
}

void Checkpoints::Settle() {
  settling_ = true;
  MaybeSettled();
}

void Checkpoints::MaybeSettled() {
  if (settling_ && !mover_.busy()) {
    settling_ = false;
    callbacks_.settled();
  }
}

}  // namespace muster
