#include "launcher/jobd/checkpoints_event.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "launcher/jobd/mover_verdicts.h"
#include "runtime/base/log.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

using checkpoint_words::Generation;
using checkpoint_words::SaveEnded;
using mover_verdicts::IsLate;
using mover_verdicts::MayRetry;
using mover_verdicts::TextOf;

}  // namespace

Checkpoints::Checkpoints(event_base* base, LinkServices& services, Callbacks callbacks)
    : services_(services),
      callbacks_(std::move(callbacks)),
      meetings_(
          base, services,
          {.reads =
               [this](const std::string& memory) {
                 return reading_.contains(memory) || staged_.contains(memory);
               },
           .staged = [this](const auto& local_ranks, const auto& staged,
                            const auto& why_not) { Met(local_ranks, staged, why_not); },
           .came =
               [this](std::uint64_t step, std::uint32_t timeout_ms) {
                 ToHead(checkpoint_words::SaveCame{.step = step, .timeout_ms = timeout_ms});
               },
           .load_came =
               [this](std::uint64_t number, std::uint32_t timeout_ms) {
                 ToHead(checkpoint_words::LoadCame{.number = number, .timeout_ms = timeout_ms});
               },
           .load = [this](const mover::LoadParts& load) { AskLoadParts(load, 0); }}),
      mover_(base),
      local_(base),
      later_(base) {}

void Checkpoints::Begin(const StartAttempt& order) {
  End();
  order_ = order;
  active_ = true;
  ++life_;
  const CheckpointPolicy& policy = order.checkpoint;
  const Duration patience = std::chrono::milliseconds(policy.deadline_ms);
  const std::string local_run = order.run_id + "." + order.hosts[order.host_index].node;
  mover_.SetStore(policy.store, order.run_id, patience, policy.local + "/" + local_run);
  local_.SetStore(policy.local, local_run, patience);
  if (policy.store.empty()) return;
  meetings_.Begin(order);
  saves_.Begin(order.hosts);
  loads_.Begin(order.hosts);
  if (order.host_index == 0) {
    gathering_.emplace();
    for (std::uint32_t host = 0; host < order.hosts.size(); ++host) gathering_->silent.insert(host);
  }
  gather_due_ = true;
  MaybeGather();
}

void Checkpoints::End() {
  active_ = false;
  generation_.reset();
  waiting_.clear();
  meetings_.End();
  staged_.clear();
  parts_.clear();
  stagers_.clear();
  tries_.clear();
  askers_.clear();
  gathering_.reset();
  gather_due_ = gathered_ = asked_for_parts_ = false;
}

// ---- the generation -----------------------------------------------------------------------------

void Checkpoints::Claim(int deaths) {
  mover_.Ask(
      mover::Claim{.attempt = order_->attempt, .must_exist = !order_->checkpoint.resume.empty()},
      [this, life = life_, deaths](const mover::FromMover& answer, const UniqueFd&) {
        MaybeSettled();
        if (life != life_ || !active_) return;
        const auto* claimed = std::get_if<mover::Claimed>(&answer);
        // What a mover that was left behind claims late is another generation.
        const bool again = MayRetry(answer, deaths) || (IsLate(answer) && deaths == 0);
        if (again) return Claim(deaths + 1);
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
  if (gathering_) Tell(host_index, checkpoint_words::AskParts{});
  if (generation_) Tell(host_index, *generation_);
}

void Checkpoints::On(std::uint32_t, const Generation& message) {
  const bool known = generation_ && generation_->error.empty();
  generation_ = message;
  // No save of an older generation can be committed any more.
  if (message.error.empty() && !known) {
    std::vector<mover::SaveName> old = std::exchange(kept_, {});
    for (const mover::Part& part : std::exchange(found_, {})) old.push_back(part.save);
    written_.clear();
    DropLocal(old);
  }
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
  ToHead(checkpoint_words::SaveCame{.step = staged.step});
  const std::string why_not =
      staged.memory.empty() ? "both of its staging memories are still being written" : "";
  if (generation_) return Write({local_rank}, staged, why_not);
  waiting_.emplace_back(
      [this, local_rank, staged, why_not] { Write({local_rank}, staged, why_not); });
}

void Checkpoints::ToHead(const checkpoint_words::Message& message) {
  if (order_->host_index > 0) return Tell(0, message);
  std::visit([&](const auto& m) { On(0, m); }, message);
}

void Checkpoints::EndSave(std::uint64_t step, const std::string& error) {
  const SaveEnded ended{.step = step, .error = error};
  TellAll(ended);
  On(0, ended);
}

void Checkpoints::On(std::uint32_t, const SaveEnded& message) {
  const auto is_this = [&](const mover::SaveName& save) {
    return save.step == message.step && generation_ && save.generation == generation_->generation;
  };
  std::erase_if(written_, [&](const mover::Part& part) { return is_this(part.save); });
  std::vector<mover::SaveName> drop;
  std::copy_if(kept_.begin(), kept_.end(), std::back_inserter(drop), is_this);
  std::erase_if(kept_, is_this);
  DropLocal(drop);
  const auto stager = stagers_.find(message.step);
  if (stager == stagers_.end()) return;
  const std::vector<std::uint32_t> local_ranks = std::move(stager->second);
  stagers_.erase(stager);
  for (const std::uint32_t local_rank : local_ranks) {
    services_.Say(local_rank, link::Saved{.step = message.step,
                                          .error = message.error,
                                          .optional = !order_->checkpoint.required});
  }
}

void Checkpoints::StoreFailed(const std::string& text) {
  const std::string told = "the store " + order_->checkpoint.store + " failed: " + text;
  // A job that goes on with a run does not begin from nothing.
  const bool cannot_begin = !generation_ && !order_->checkpoint.resume.empty();
  if (order_->checkpoint.required || cannot_begin) {
    return callbacks_.failed({.kind = CauseKind::kStore, .text = told});
  }
  services_.Note(told + "; the job goes on without this checkpoint");
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
  constexpr Duration kWithoutDeadline = std::chrono::minutes(2);
  mover_.LimitPatience(kWithoutDeadline);
  local_.LimitPatience(kWithoutDeadline);
  settling_ = true;
  MaybeSettled();
}

void Checkpoints::MaybeSettled() {
  if (!settling_ || finishing_ > 0 || Busy() || !EndLeftovers()) return;
  if (order_ && !order_->checkpoint.local.empty() && !std::exchange(local_dropped_, true)) {
    // The job is over: what could not be moved is of no use to anyone.
    local_.Ask(mover::DropParts{.all = true},
               [this](const mover::FromMover&, const UniqueFd&) { MaybeSettled(); });
    return;
  }
  settling_ = false;
  callbacks_.settled();
}

}  // namespace muster
