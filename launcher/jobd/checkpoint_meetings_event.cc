// Saves and loads of all ranks of a node together (rank_meetings.h): what becomes of them here.
#include <utility>

#include "launcher/jobd/checkpoints_event.h"
#include "launcher/jobd/mover_verdicts.h"

namespace muster {
namespace {

using mover_verdicts::MayRetry;
using mover_verdicts::TextOf;

constexpr char kNoStore[] =
    "the job has no checkpoint store (checkpoint: {store: FOLDER} in the job file, or "
    "--checkpoint-store FOLDER)";

}  // namespace

void Checkpoints::Meet(std::uint32_t local_rank, const link::ToJobd& message) {
  if (!active_) return;
  if (!order_->checkpoint.store.empty()) return meetings_.Hear(local_rank, message);
  if (const auto* save = std::get_if<link::SaveBegin>(&message)) {
    if (save->more) return;
    services_.Say(local_rank, link::SaveInto{.step = save->step, .error = kNoStore});
  } else if (const auto* load = std::get_if<link::LoadParts>(&message)) {
    if (load->more) return;
    services_.Say(local_rank, link::LoadedParts{.number = load->number, .error = kNoStore});
  }
}

void Checkpoints::RankGone(std::uint32_t local_rank) {
  if (!active_) return;
  meetings_.Gone(local_rank);
  if (meetings_.all_gone()) ToHead(checkpoint_words::NoMoreSaves{});
}

void Checkpoints::Met(const std::vector<std::uint32_t>& local_ranks, const link::Staged& staged,
                      const std::string& why_not) {
  if (generation_) return Write(local_ranks, staged, why_not);
  if (!staged.memory.empty()) staged_.insert(staged.memory);
  waiting_.emplace_back([this, local_ranks, staged, why_not] {
    staged_.erase(staged.memory);
    Write(local_ranks, staged, why_not);
    meetings_.MemoryFree();  // Without a generation nothing is written.
  });
}

void Checkpoints::AskLoadParts(const mover::LoadParts& load, int deaths) {
  mover_.Ask(load,
             [this, life = life_, load, deaths](const mover::FromMover& answer, UniqueFd payload) {
               MaybeSettled();
               if (life != life_ || !active_) return;
               if (MayRetry(answer, deaths)) return AskLoadParts(load, deaths + 1);
               const auto* loaded = std::get_if<mover::PartsLoaded>(&answer);
               if (loaded == nullptr)
                 return meetings_.Loaded(Status(Code::kUnavailable, TextOf(answer)));
               meetings_.Loaded(*loaded, std::move(payload));
             });
}

}  // namespace muster
