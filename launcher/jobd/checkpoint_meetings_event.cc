// Saves and loads of all ranks of a node together (rank_meetings.h): what becomes of them here.
#include <utility>

#include "launcher/jobd/checkpoints_event.h"
#include "launcher/jobd/mover_verdicts.h"

namespace muster {
namespace {

using checkpoint_words::LoadCame;
using checkpoint_words::LoadOf;
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

// ---- loads: the head finds the commit for all ---------------------------------------------------

void Checkpoints::On(std::uint32_t from, const LoadCame& message) {
  if (!active_ || order_->host_index != 0) return;
  const Duration wait = std::chrono::milliseconds(message.timeout_ms);
  loads_.Came(from, message.number, RealClock().Now() + wait);
  EndLoads();
  if (order_->hosts.size() == 1) return;
  later_.Do(wait, [this, life = life_] {
    if (life == life_ && active_) EndLoads();
  });
}

void Checkpoints::EndLoads() {
  const auto round = loads_.End(RealClock().Now());
  if (!round) return;
  if (!round->error.empty()) return Answer(*round, {.error = round->error});
  if (generation_) return AskNewest(*round);
  waiting_.emplace_back([this, round = *round] { AskNewest(round); });
}

// A run is claimed before anything of it is read.  Without a generation nothing will be saved;
// where the store is not required, what is there can be read all the same.
void Checkpoints::AskNewest(const HeadLoads::Round& round, int deaths) {
  if (!generation_->error.empty() && order_->checkpoint.required) {
    return Answer(round, {.error = generation_->error});
  }
  mover_.Ask(mover::OpenNewest{}, [this, life = life_, round, deaths](
                                      const mover::FromMover& answer, const UniqueFd&) {
    MaybeSettled();
    if (life != life_ || !active_) return;
    if (MayRetry(answer, deaths)) return AskNewest(round, deaths + 1);
    const auto* opened = std::get_if<mover::CheckpointOpened>(&answer);
    if (opened == nullptr) return Answer(round, {.error = TextOf(answer)});
    for (const std::string& note : opened->notes) services_.Note(note);
    Answer(
        round,
        {.found = opened->found,
         .save = {.generation = opened->generation, .step = opened->step, .nonce = opened->nonce}});
  });
}

void Checkpoints::Answer(const HeadLoads::Round& round, LoadOf of) {
  for (const auto& [host, number] : round.hosts) {
    of.number = number;
    if (host > 0) Tell(host, of);
  }
  const auto own = round.hosts.find(0);
  if (own == round.hosts.end()) return;
  of.number = own->second;
  On(0, of);
}

void Checkpoints::On(std::uint32_t, const LoadOf& message) {
  if (active_) meetings_.Hear(message);
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
