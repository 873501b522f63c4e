// What ranks ask of checkpoints that are there: whole ones, or what a commit holds and parts of it.
#include <fcntl.h>

#include <utility>

#include "launcher/jobd/checkpoints_event.h"
#include "launcher/jobd/mover_verdicts.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

using mover_verdicts::MayRetry;
using mover_verdicts::TextOf;

constexpr std::size_t kTensorBytesMax = link::kPacketMax / 2;  // A packet holds more than these.

}  // namespace

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

}  // namespace muster
