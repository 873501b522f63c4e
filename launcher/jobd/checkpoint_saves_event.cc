// This node's part of a save: from a rank's memory, by way of the local store if there is one, to
// the shared store.
#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "launcher/jobd/checkpoints_event.h"
#include "launcher/jobd/mover_verdicts.h"

namespace muster {
namespace {

using checkpoint_words::ShardEnded;
using mover_verdicts::MayRetry;
using mover_verdicts::OfStore;
using mover_verdicts::TextOf;

constexpr int kOnDiskMax = 2;  // Parts in the local store that are not moved yet.

UniqueFd Copy(const UniqueFd& fd) {
  return UniqueFd(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
}

}  // namespace

void Checkpoints::Write(const std::vector<std::uint32_t>& local_ranks, const link::Staged& staged,
                        const std::string& why_not) {
  stagers_[staged.step] = local_ranks;
  ShardEnded shard{.step = staged.step,
                   .nonce = generation_->nonce + tries_[staged.step]++,
                   .host_state = staged.host_state,
                   .error = generation_->error,
                   .common = staged.common};
  if (!why_not.empty()) {
    shard.error = "node " + order_->hosts[order_->host_index].node + " skipped it: " + why_not;
  }
  const auto block = services_.memory().Find(staged.memory);
  if (shard.error.empty() && !block.ok()) shard.error = block.status().message();
  if (!shard.error.empty()) return ToHead(shard);
  const mover::Write write{.generation = generation_->generation,
                           .step = staged.step,
                           .nonce = shard.nonce,
                           .node = order_->host_index,
                           .nodes = static_cast<std::uint32_t>(order_->hosts.size()),
                           .tensors = staged.tensors,
                           .bytes_per_s = LimitOfNode()};
  ++finishing_;
  reading_.emplace(staged.memory, life_);
  Start(std::make_shared<Flight>(Flight{.life = life_,
                                        .local_ranks = local_ranks,
                                        .memory = staged.memory,
                                        .bytes = UniqueFd(fcntl(block->fd, F_DUPFD_CLOEXEC, 0)),
                                        .write = write,
                                        .shard = shard,
                                        .job = CommitOfJob()}));
}

// 0 is no limit, so the smallest is 1.
std::uint64_t Checkpoints::LimitOfNode() const {
  const std::uint64_t of_job = order_->checkpoint.bytes_per_s;
  return of_job == 0 ? 0 : std::max<std::uint64_t>(of_job / order_->hosts.size(), 1);
}

mover::Part Checkpoints::PartOf(const Flight& flight, const mover::ShardReport& report) {
  return {.save = {.generation = flight.write.generation,
                   .step = flight.write.step,
                   .nonce = flight.write.nonce},
          .report = report,
          .host_state = flight.shard.host_state,
          .topology = flight.job.topology,
          .metadata = flight.job.metadata};
}

void Checkpoints::Start(const FlightPtr& flight) {
  if (order_->checkpoint.local.empty()) return AskWrite(flight, 0);
  behind_.push_back(flight);
  NextLocal();
}

// ---- by way of the local store ------------------------------------------------------------------

void Checkpoints::NextLocal() {
  while (!behind_.empty() && on_disk_ < kOnDiskMax) {
    const FlightPtr flight = behind_.front();
    behind_.pop_front();
    ++on_disk_;
    AskLocal(flight, 0);
  }
}

void Checkpoints::AskLocal(const FlightPtr& flight, int deaths) {
  mover::Write write = flight->write;
  write.again = deaths > 0;
  write.bytes_per_s = 0;  // The limit is the shared store's.
  local_.Ask(
      write,
      [this, flight, deaths](const mover::FromMover& answer, const UniqueFd&) {
        if (MayRetry(answer, deaths)) return AskLocal(flight, deaths + 1);
        const auto* written = std::get_if<mover::Written>(&answer);
        if (written == nullptr) return LocalFailed(flight, TextOf(answer));
        AskKeep(flight, written->report, 0);
      },
      Copy(flight->bytes));
}

void Checkpoints::AskKeep(const FlightPtr& flight, const mover::ShardReport& report, int deaths) {
  const mover::Part part = PartOf(*flight, report);
  local_.Ask(mover::KeepPart{part},
             [this, flight, part, deaths](const mover::FromMover& answer, const UniqueFd&) {
               if (MayRetry(answer, deaths)) return AskKeep(flight, part.report, deaths + 1);
               if (std::holds_alternative<mover::PartKept>(answer)) return Kept(flight, part);
               LocalFailed(flight, TextOf(answer));
             });
}

// Its memory is free for the next save; the rank need not wait for the shared store.
void Checkpoints::Kept(const FlightPtr& flight, const mover::Part& part) {
  const bool over = flight->life != life_ || !active_;
  DoneReading(flight);
  if (!over) {
    for (const std::uint32_t local_rank : flight->local_ranks) {
      services_.Say(local_rank, link::Saved{.step = flight->write.step, .local = true});
    }
  }
  AskMove(flight, part, 0);
}

void Checkpoints::AskMove(const FlightPtr& flight, const mover::Part& part, int deaths) {
  mover_.Ask(
      mover::MovePart{.part = part, .again = deaths > 0, .bytes_per_s = flight->write.bytes_per_s},
      [this, flight, part, deaths](const mover::FromMover& answer, const UniqueFd&) {
        if (MayRetry(answer, deaths)) return AskMove(flight, part, deaths + 1);
        kept_.push_back(part.save);
        --on_disk_;
        PartEnded(flight, answer);
        NextLocal();
      });
}

// A full disk, or a broken one: this save does without.
void Checkpoints::LocalFailed(const FlightPtr& flight, const std::string& why) {
  services_.Note("the local store " + order_->checkpoint.local + " failed: " + why + "; step " +
                 std::to_string(flight->write.step) + " goes straight to " +
                 order_->checkpoint.store);
  --on_disk_;
  DropLocal({{.generation = flight->write.generation,
              .step = flight->write.step,
              .nonce = flight->write.nonce}});
  AskWrite(flight, 0);
  NextLocal();
}

void Checkpoints::DropLocal(const std::vector<mover::SaveName>& saves) {
  if (saves.empty() || order_->checkpoint.local.empty()) return;
  local_.Ask(mover::DropParts{.saves = saves},
             [this](const mover::FromMover& answer, const UniqueFd&) {
               if (std::holds_alternative<mover::Failed>(answer)) {
                 services_.Note("old copies stay in the local store: " + TextOf(answer));
               }
               MaybeSettled();
             });
}

// ---- straight to the shared store ---------------------------------------------------------------

void Checkpoints::AskWrite(const FlightPtr& flight, int deaths) {
  mover::Write write = flight->write;
  write.again = deaths > 0;
  mover_.Ask(
      write,
      [this, flight, deaths](const mover::FromMover& answer, const UniqueFd&) {
        if (MayRetry(answer, deaths)) return AskWrite(flight, deaths + 1);
        PartEnded(flight, answer);
      },
      Copy(flight->bytes));
}

// What is written when the attempt is over is committed all the same: at once by a node that is
// alone, else when the next attempt begins.
void Checkpoints::PartEnded(const FlightPtr& flight, const mover::FromMover& answer) {
  DoneReading(flight);
  const mover::Write& write = flight->write;
  const auto* written = std::get_if<mover::Written>(&answer);
  if (written != nullptr) {
    flight->shard.report = written->report;
    written_.push_back(PartOf(*flight, written->report));
  } else {
    const auto* failed = std::get_if<mover::Failed>(&answer);
    flight->shard.error = "node " + order_->hosts[order_->host_index].node + ": " + TextOf(answer);
    // Damage that was found on the way is the local disk's.
    flight->shard.store_failed =
        failed == nullptr || (OfStore(*failed) && failed->code != Code::kDataLoss);
  }
  const bool over = flight->life != life_ || !active_;
  if (over && write.nodes == 1 && written != nullptr) {
    AskCommit(CommitOf(write, {written->report}, flight->shard.host_state, flight->job),
              Whose::kEarlier);
  }
  --finishing_;
  if (!over) ToHead(flight->shard);
  MaybeGather();
  MaybeSettled();
}

bool Checkpoints::Reads(std::uint32_t local_rank, const std::string& memory) {
  const auto reader = reading_.find(memory);
  if (reader == reading_.end()) return false;
  if (reader->second != life_) askers_[memory] = local_rank;
  return true;
}

void Checkpoints::DoneReading(const FlightPtr& flight) {
  if (!std::exchange(flight->reads, false)) return;
  flight->bytes.Reset();
  const std::string& memory = flight->memory;
  // Of this life or another: as many go as came.
  const auto [first, last] = reading_.equal_range(memory);
  for (auto at = first; at != last; ++at) {
    if (at->second != flight->life) continue;
    reading_.erase(at);
    break;
  }
  meetings_.MemoryFree();
  const auto asker = askers_.find(memory);
  if (asker == askers_.end() || reading_.contains(memory)) return;
  services_.Say(asker->second, link::Saved{.step = flight->write.step,
                                           .error = "the attempt that staged it is over"});
  askers_.erase(asker);
}

}  // namespace muster
