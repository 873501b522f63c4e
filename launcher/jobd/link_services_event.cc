#include "launcher/jobd/link_services_event.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "launcher/jobd/machine_posix.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

constexpr timeval kReportInterval{.tv_sec = 0, .tv_usec = 50000};
constexpr std::size_t kValueMax = 60000;  // With its key, so that it fits a packet.

timeval Until(TimePoint at) {
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(
      std::max(at - RealClock().Now(), Duration::zero()));
  return {.tv_sec = left.count() / 1000000, .tv_usec = left.count() % 1000000};
}

}  // namespace

LinkServices::LinkServices(event_base* base, Callbacks callbacks)
    : callbacks_(std::move(callbacks)),
      links_(base, [this](std::uint32_t local_rank,
                          const link::ToJobd& message) { Hear(local_rank, message); }),
      memory_(PhysicalMemory() / 2),
      report_(evtimer_new(base, OnReport, this)),
      deadline_(evtimer_new(base, OnDeadline, this)) {
  CHECK(report_ != nullptr && deadline_ != nullptr);
}

LinkServices::~LinkServices() {
  event_free(report_);
  event_free(deadline_);
}

void LinkServices::Begin(const StartAttempt& order, const std::string& job_logs) {
  End();
  latest_ = {.job = order.job, .attempt = order.attempt, .committed_step = latest_.committed_step};
  phases_ = {};
  is_head_ = order.host_index == 0;
  curve_.Begin(job_logs + "/" + std::to_string(order.attempt) + "/" + kProgressFileName);
  ranks_ = order.hosts[order.host_index].slots.size();
  training_.clear();
  best_before_ = best_step_;
  stepped_ = false;
}

void LinkServices::End() {
  if (evtimer_pending(report_, nullptr) != 0) Report();
  curve_.End();
  links_.CloseAll();
  keys_.Clear();
  refused_key_ = false;
  questions_.clear();
  event_del(report_);
  event_del(deadline_);
}

void LinkServices::Hear(std::uint32_t local_rank, const link::ToJobd& message) {
  std::visit([&](const auto& m) { On(local_rank, m); }, message);
}

void LinkServices::On(std::uint32_t, const link::Hello&) {}

void LinkServices::On(std::uint32_t, const link::Bye&) {}

void LinkServices::On(std::uint32_t local_rank, const link::Progress& message) {
  MarkProgress(local_rank, message);
  const bool speaks_for_job = is_head_ && local_rank == 0;
  if (speaks_for_job && link::InTraining(message.phase)) {
    const auto now = RealClock().Wall().time_since_epoch();
    curve_.Add({.step = message.step,
                .loss = message.loss,
                .tokens = message.tokens,
                .at_ms = std::chrono::duration_cast<std::chrono::milliseconds>(now).count()});
  }
  if (speaks_for_job) {
    phases_.Add(message, RealClock().Now());
    latest_.phase = phases_.phase();
  }
  if (!speaks_for_job && message.note.empty()) return;
  if (speaks_for_job || message.step >= latest_.step) {
    latest_.step = message.step;
    latest_.loss = message.loss;
    latest_.tokens = message.tokens;
    latest_.comm_us = message.comm_us;
  }
  if (message.note.empty()) return ReportSoon();
  Note(message.note);
}

void LinkServices::MarkProgress(std::uint32_t local_rank, const link::Progress& message) {
  if (link::InTraining(message.phase) && training_.insert(local_rank).second &&
      training_.size() == ranks_) {
    callbacks_.mark(Mark::kStateRestored);
  }
  best_step_ = std::max(best_step_, message.step);
  if (message.step > best_before_ && !stepped_) {
    stepped_ = true;
    callbacks_.mark(Mark::kFirstStep);
  }
}

void LinkServices::SetCommitted(std::uint64_t step) {
  latest_.committed_step = step;
  Report();
}

void LinkServices::Note(const std::string& note) {
  latest_.note = note;
  Report();
}

void LinkServices::ReportSoon() {
  if (evtimer_pending(report_, nullptr) == 0) evtimer_add(report_, &kReportInterval);
}

void LinkServices::OnReport(evutil_socket_t, short, void* self) {
  static_cast<LinkServices*>(self)->Report();
}

void LinkServices::Report() {
  event_del(report_);
  latest_.phases = phases_.times();
  callbacks_.progress(latest_);
  latest_.note.clear();
}

void LinkServices::On(std::uint32_t local_rank, const link::KvSet& message) {
  if (message.key.size() + message.value.size() > kValueMax) {
    return Log(LogLevel::kWarning, "local_rank=" + std::to_string(local_rank) + " key '" +
                                       message.key.substr(0, 100) +
                                       "' is not set: " + std::to_string(message.value.size()) +
                                       " bytes, key and "
                                       "value may have " +
                                       std::to_string(kValueMax));
  }
  if (!keys_.Fits(message.key, message.value)) {
    RefuseKey(message.key);
    return Say(local_rank, link::KvRefused{.key = message.key});
  }
  callbacks_.spread(message.key, message.value);
}

// Told once an attempt: whoever sets too many sets more.
void LinkServices::RefuseKey(const std::string& key) {
  if (std::exchange(refused_key_, true)) return;
  Note("key '" + key.substr(0, 100) + "' and later ones are not set: an attempt may have " +
       std::to_string(KeyTable::kBytesMost >> 20) + " MiB of keys and values");
}

void LinkServices::Learn(const std::string& key, const std::string& value) {
  if (!keys_.Set(key, value)) return RefuseKey(key);
  for (auto question = questions_.begin(); question != questions_.end();) {
    if (question->key != key) {
      ++question;
      continue;
    }
    const std::uint32_t local_rank = question->local_rank;
    question = questions_.erase(question);
    Say(local_rank, link::KvValue{.key = key, .value = value, .found = true});
  }
}

void LinkServices::On(std::uint32_t local_rank, const link::KvGet& message) {
  if (const std::string* value = keys_.Find(message.key)) {
    return Say(local_rank, link::KvValue{.key = message.key, .value = *value, .found = true});
  }
  questions_.push_back(
      {.local_rank = local_rank,
       .key = message.key,
       .deadline = RealClock().Now() + std::chrono::milliseconds(message.timeout_ms)});
  ArmDeadline();
}

void LinkServices::ArmDeadline() {
  const auto first =
      std::min_element(questions_.begin(), questions_.end(),
                       [](const auto& a, const auto& b) { return a.deadline < b.deadline; });
  if (first == questions_.end()) return;
  const timeval left = Until(first->deadline);
  evtimer_add(deadline_, &left);
}

void LinkServices::OnDeadline(evutil_socket_t, short, void* pointer) {
  auto* self = static_cast<LinkServices*>(pointer);
  const TimePoint now = RealClock().Now();
  std::list<Question> late;
  for (auto item = self->questions_.begin(); item != self->questions_.end();) {
    const auto next = std::next(item);
    if (item->deadline <= now) late.splice(late.end(), self->questions_, item);
    item = next;
  }
  for (const Question& question : late) {
    self->Say(question.local_rank, link::KvValue{.key = question.key});
  }
  self->ArmDeadline();
}

void LinkServices::On(std::uint32_t local_rank, const link::MemoryGet& message) {
  const Result<JobMemory::Block> block = memory_.Get(message.name, message.bytes);
  if (!block.ok()) {
    return Say(local_rank, link::Memory{.name = message.name, .error = block.status().message()});
  }
  const auto descriptor = std::make_shared<UniqueFd>(fcntl(block->fd, F_DUPFD_CLOEXEC, 0));
  if (!descriptor->valid()) {
    return Say(local_rank, link::Memory{.name = message.name,
                                        .error = "jobd has no descriptor left on this node"});
  }
  Say(local_rank,
      link::Memory{.name = message.name,
                   .bytes = block->bytes,
                   .fresh = block->fresh,
                   .busy = callbacks_.reads(local_rank, message.name)},
      descriptor);
}

void LinkServices::On(std::uint32_t local_rank, const link::Staged& message) {
  callbacks_.staged(local_rank, message);
}

void LinkServices::On(std::uint32_t local_rank, const link::Load&) {
  callbacks_.load(local_rank);
}

void LinkServices::On(std::uint32_t local_rank, const link::OpenCheckpoint&) {
  callbacks_.open_checkpoint(local_rank);
}

void LinkServices::On(std::uint32_t local_rank, const link::ReadBlocks& message) {
  callbacks_.read_blocks(local_rank, message);
}

void LinkServices::On(std::uint32_t local_rank, const link::SaveBegin& message) {
  callbacks_.meet(local_rank, message);
}

void LinkServices::On(std::uint32_t local_rank, const link::SaveCopied& message) {
  callbacks_.meet(local_rank, message);
}

void LinkServices::On(std::uint32_t local_rank, const link::LoadParts& message) {
  callbacks_.meet(local_rank, message);
}

bool LinkServices::AskToStop(std::uint32_t local_rank, std::uint32_t grace_ms) {
  Say(local_rank, link::Stop{.grace_ms = grace_ms});
  return links_.Polls(local_rank);
}

}  // namespace muster
