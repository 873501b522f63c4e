#include "launcher/jobd/meeting_place_event.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "launcher/jobd/env_contracts.h"
#include "runtime/base/check.h"

namespace muster {

MeetingPlace::MeetingPlace(event_base* base, LinkServices& services, const Callbacks& callbacks)
    : services_(services),
      meetings_({.say = [this](std::uint32_t local_rank, const link::ToRank& message,
                               const std::string& memory) { Say(local_rank, message, memory); },
                 .reads = callbacks.reads,
                 .make = [this](const std::string& memory,
                                std::uint64_t bytes) { return Make(memory, bytes); },
                 .staged = callbacks.staged,
                 .came = callbacks.came,
                 .note = [this](const std::string& note) { services_.Note(note); },
                 .load_came = callbacks.load_came,
                 .load = callbacks.load}),
      deadline_(evtimer_new(base, OnDeadline, this)) {
  CHECK(deadline_ != nullptr);
}

MeetingPlace::~MeetingPlace() {
  event_free(deadline_);
}

void MeetingPlace::Begin(const StartAttempt& order) {
  std::vector<std::uint32_t> ranks;
  for (std::uint32_t i = 0; i < order.hosts[order.host_index].slots.size(); ++i) {
    ranks.push_back(PlaceOf(order, i).rank);
  }
  meetings_.Begin(std::move(ranks));
}

void MeetingPlace::End() {
  meetings_.End();
  ArmDeadline();
}

void MeetingPlace::Hear(std::uint32_t local_rank, const link::ToJobd& message) {
  if (const auto* begin = std::get_if<link::SaveBegin>(&message)) {
    meetings_.On(local_rank, *begin, RealClock().Now());
  } else if (const auto* copied = std::get_if<link::SaveCopied>(&message)) {
    meetings_.On(local_rank, *copied);
  } else if (const auto* load = std::get_if<link::LoadParts>(&message)) {
    meetings_.On(local_rank, *load, RealClock().Now());
  }
  ArmDeadline();
}

void MeetingPlace::Hear(const checkpoint_words::LoadOf& of) {
  meetings_.On(of);
  ArmDeadline();
}

void MeetingPlace::Loaded(const Result<mover::PartsLoaded>& loaded, UniqueFd memory) {
  memories_[RankMeetings::kLoaded] = std::make_shared<UniqueFd>(std::move(memory));
  meetings_.Loaded(loaded);
  memories_.erase(RankMeetings::kLoaded);
  ArmDeadline();
}

void MeetingPlace::MemoryFree() {
  meetings_.MemoryFree();
  ArmDeadline();
}

void MeetingPlace::Gone(std::uint32_t local_rank) {
  meetings_.Gone(local_rank);
  ArmDeadline();
}

void MeetingPlace::Say(std::uint32_t local_rank, const link::ToRank& message,
                       const std::string& memory) {
  services_.Say(local_rank, message, memory.empty() ? nullptr : memories_.at(memory));
}

Status MeetingPlace::Make(const std::string& memory, std::uint64_t bytes) {
  memories_.erase(memory);
  const auto block = services_.memory().GetAtLeast(memory, bytes);
  if (!block.ok()) return block.status();
  UniqueFd fd(fcntl(block->fd, F_DUPFD_CLOEXEC, 0));
  if (!fd.valid()) return Status(Code::kExhausted, "jobd has no descriptor left on this node");
  memories_[memory] = std::make_shared<UniqueFd>(std::move(fd));
  return {};
}

void MeetingPlace::OnDeadline(evutil_socket_t, short, void* pointer) {
  auto* self = static_cast<MeetingPlace*>(pointer);
  self->meetings_.Tick(RealClock().Now());
  self->ArmDeadline();
}

void MeetingPlace::ArmDeadline() {
  event_del(deadline_);
  const auto at = meetings_.deadline();
  if (!at) return;
  const auto left = std::chrono::duration_cast<std::chrono::microseconds>(
      std::max(*at - RealClock().Now(), Duration::zero()));
  const timeval wait{.tv_sec = left.count() / 1000000, .tv_usec = left.count() % 1000000};
  evtimer_add(deadline_, &wait);
}

}  // namespace muster
