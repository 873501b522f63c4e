#include "launcher/jobd/rank_meetings.h"

#include <algorithm>
#include <utility>

#include "launcher/jobd/checkpoint_words.h"
#include "runtime/base/dtype.h"
#include "runtime/base/text.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr std::size_t kTextMax = link::kPacketMax / 4;  // A packet holds more than these two.
constexpr std::size_t kTensorBytesMax = link::kPacketMax / 2;

constexpr char kEnded[] = " has ended; all ranks save and load together";

std::string StepText(std::uint64_t step) {
  return "step " + std::to_string(step);
}

template <typename Part>
std::vector<std::uint32_t> RanksOf(const std::map<std::uint32_t, Part>& parts) {
  std::vector<std::uint32_t> ranks;
  for (const auto& [local_rank, part] : parts) ranks.push_back(local_rank);
  return ranks;
}

template <typename T>
void Append(std::vector<T>& to, const std::vector<T>& more) {
  to.insert(to.end(), more.begin(), more.end());
}

// Nothing, or why the part cannot be what its rank says.
std::string WrongBytes(const link::SaveBegin& part) {
  constexpr std::uint64_t kMax = std::uint64_t{1} << 60U;
  std::uint64_t bytes = 0;
  for (const link::StagedTensor& box : part.tensors) {
    const auto item = DtypeBytes(box.dtype);
    if (!item) return "tensor \"" + box.name + "\" has the unknown dtype \"" + box.dtype + "\"";
    std::uint64_t size = std::count(box.shape.begin(), box.shape.end(), 0U) > 0 ? 0 : *item;
    for (const std::uint64_t extent : box.shape) {
      if (size > 0 && size > kMax / extent) return "tensor \"" + box.name + "\" is too large";
      size *= extent;
    }
    bytes += size;
    if (bytes > kMax) return "its tensors are too large";
  }
  if (bytes == part.bytes) return "";
  return "it announced " + std::to_string(part.bytes) + " bytes, and its " +
         std::to_string(part.tensors.size()) + " tensors have " + std::to_string(bytes) +
         "; is its libmuster_client of another version?";
}

// In packets that fit the link.
std::vector<link::LoadedParts> Cut(link::LoadedParts whole) {
  std::vector<link::LoadedParts> packets;
  std::size_t text = 0;
  std::size_t tensor = 0;
  do {
    link::LoadedParts packet{
        .number = whole.number, .bytes = whole.bytes, .more = true, .step = whole.step};
    packet.host_state = whole.host_state.substr(text, kTextMax);
    text += packet.host_state.size();
    std::size_t size = 0;
    for (; tensor < whole.tensors.size(); ++tensor) {
      size += EncodeWire(whole.tensors[tensor]).size() + sizeof(std::uint64_t);
      if (size > kTensorBytesMax && !packet.tensors.empty()) break;
      packet.tensors.push_back(std::move(whole.tensors[tensor]));
      packet.begins.push_back(whole.begins[tensor]);
    }
    packets.push_back(std::move(packet));
  } while (text < whole.host_state.size() || tensor < whole.tensors.size());
  packets.back().more = false;
  return packets;
}

}  // namespace

void RankMeetings::Begin(std::vector<std::uint32_t> ranks) {
  End();
  ranks_ = std::move(ranks);
}

void RankMeetings::End() {
  arriving_save_.clear();
  arriving_load_.clear();
  saves_.clear();
  load_.reset();
  gone_.clear();
  given_up_ = {};
}

std::string RankMeetings::Rank(std::uint32_t local_rank) const {
  return "rank " + std::to_string(local_rank < ranks_.size() ? ranks_[local_rank] : local_rank);
}

std::string RankMeetings::Missing(const std::vector<std::uint32_t>& local_ranks) const {
  std::vector<std::string> missing;
  for (std::uint32_t i = 0; i < ranks_.size(); ++i) {
    if (!std::count(local_ranks.begin(), local_ranks.end(), i)) missing.push_back(Rank(i));
  }
  return Join(missing, ", ");
}

// ---- saves --------------------------------------------------------------------------------------

void RankMeetings::On(std::uint32_t local_rank, const link::SaveBegin& packet, TimePoint now) {
  link::SaveBegin& arriving = arriving_save_[local_rank];
  if (arriving.step != packet.step) arriving = {};  // The rest of another never came.
  arriving.step = packet.step;
  arriving.common = packet.common;
  arriving.bytes = packet.bytes;
  arriving.timeout_ms = packet.timeout_ms;
  arriving.host_state += packet.host_state;
  Append(arriving.tensors, packet.tensors);
  if (packet.more) return;
  link::SaveBegin part = std::move(arriving_save_.extract(local_rank).mapped());
  if (part.step == given_up_.step && given_up_.missing.erase(local_rank) > 0) {
    return callbacks_.say(local_rank, link::SaveInto{.step = part.step, .error = given_up_.error},
                          "");
  }
  auto save = std::find_if(saves_.begin(), saves_.end(),
                           [&](const Save& one) { return !one.parts.contains(local_rank); });
  if (save != saves_.end() && save->step != part.step) {
    const std::string error = Rank(local_rank) + " saves " + StepText(part.step) + " while " +
                              Rank(save->parts.begin()->first) + " saves " + StepText(save->step) +
                              "; " + checkpoint_words::kAllSave;
    Fail(save, error);
    callbacks_.say(local_rank, link::SaveInto{.step = part.step, .error = error}, "");
    return callbacks_.staged({local_rank}, {.step = part.step}, error);
  }
  const TimePoint deadline = now + std::chrono::milliseconds(part.timeout_ms);
  if (save == saves_.end()) {
    save = saves_.insert(save, Save{.step = part.step, .deadline = deadline});
    callbacks_.came(part.step, part.timeout_ms);
  }
  save->deadline = std::min(save->deadline, deadline);
  const std::string wrong = WrongBytes(part);
  save->parts[local_rank] = std::move(part);
  if (!wrong.empty()) return GiveUp(save, Rank(local_rank) + ": " + wrong);
  if (!gone_.empty()) return Fail(save, Rank(*gone_.begin()) + kEnded);
  GiveMemory();
}

void RankMeetings::GiveMemory() {
  for (auto save = saves_.begin(); save != saves_.end();) {
    const auto at = save++;
    if (!at->memory.empty()) continue;
    if (at->parts.size() < ranks_.size()) return;
    const auto free =
        std::find_if(std::begin(kStages), std::end(kStages), [this](const char* stage) {
          return !callbacks_.reads(stage) &&
                 std::none_of(saves_.begin(), saves_.end(),
                              [&](const Save& other) { return other.memory == stage; });
        });
    if (free == std::end(kStages)) return;
    std::uint64_t bytes = 0;
    bool common = true;
    for (const auto& [local_rank, part] : at->parts) {
      bytes += part.bytes;
      common = common && part.common == at->parts.begin()->second.common;
    }
    if (!common) {
      Fail(at, checkpoint_words::kNotCommon);
      continue;
    }
    const Status made = callbacks_.make(*free, bytes);
    made.ok() ? Give(*at, *free) : Fail(at, made.message());
  }
}

void RankMeetings::Give(Save& save, const std::string& memory) {
  save.memory = memory;
  std::uint64_t bytes = 0;
  for (const auto& [local_rank, part] : save.parts) {
    save.copying.insert(local_rank);
    bytes += part.bytes;
  }
  std::uint64_t begin = 0;
  for (const auto& [local_rank, part] : save.parts) {
    callbacks_.say(local_rank, link::SaveInto{.step = save.step, .begin = begin, .bytes = bytes},
                   memory);
    begin += part.bytes;
  }
}

void RankMeetings::Fail(SaveAt save, const std::string& error, bool busy) {
  const Save failed = std::move(*save);
  saves_.erase(save);
  for (const auto& [local_rank, part] : failed.parts) {
    callbacks_.say(local_rank, link::SaveInto{.step = failed.step, .error = error, .busy = busy},
                   "");
  }
  callbacks_.staged(RanksOf(failed.parts), {.step = failed.step}, error);
}

void RankMeetings::GiveUp(SaveAt save, const std::string& error) {
  given_up_ = {.step = save->step, .error = error, .missing = {}};
  callbacks_.note(StepText(save->step) + " is not saved: " + error);
  for (std::uint32_t i = 0; i < ranks_.size(); ++i) {
    if (!save->parts.contains(i)) given_up_.missing.insert(i);
  }
  Fail(save, error);
}

void RankMeetings::On(std::uint32_t local_rank, const link::SaveCopied& copied) {
  const auto save = std::find_if(saves_.begin(), saves_.end(), [&](const Save& one) {
    return one.step == copied.step && one.copying.contains(local_rank);
  });
  if (save == saves_.end()) return;
  save->copying.erase(local_rank);
  if (!copied.error.empty()) save->error = Rank(local_rank) + ": " + copied.error;
  if (save->copying.empty()) EndCopying(save);
}

void RankMeetings::EndCopying(SaveAt at) {
  const Save save = std::move(*at);
  saves_.erase(at);
  link::Staged staged{.step = save.step};
  if (save.error.empty()) {
    staged.memory = save.memory;
    staged.common = save.parts.begin()->second.common;
    for (const auto& [local_rank, part] : save.parts) {
      Append(staged.tensors, part.tensors);
      if (staged.host_state.empty()) staged.host_state = part.host_state;
    }
  }
  callbacks_.staged(RanksOf(save.parts), staged, save.error);
  GiveMemory();
}

void RankMeetings::Gone(std::uint32_t local_rank) {
  gone_.insert(local_rank);
  const std::string error = Rank(local_rank) + kEnded;
  for (auto save = saves_.begin(); save != saves_.end();) {
    const auto at = save++;
    if (at->memory.empty()) {
      Fail(at, error);
    } else if (at->copying.erase(local_rank) > 0) {
      at->error = error;
      if (at->copying.empty()) EndCopying(at);
    }
  }
  if (load_ && !load_->step) FailLoad(error);
}

// ---- loads --------------------------------------------------------------------------------------

void RankMeetings::On(std::uint32_t local_rank, const link::LoadParts& packet, TimePoint now) {
  link::LoadParts& arriving = arriving_load_[local_rank];
  std::vector<std::string> patterns = std::move(arriving.patterns);
  std::vector<link::StagedTensor> tensors = std::move(arriving.tensors);
  arriving = packet;
  Append(patterns, packet.patterns);
  Append(tensors, packet.tensors);
  arriving.patterns = std::move(patterns);
  arriving.tensors = std::move(tensors);
  if (packet.more) return;
  link::LoadParts part = std::move(arriving_load_.extract(local_rank).mapped());
  if (load_ && (load_->number > 0 || load_->parts.contains(local_rank))) {
    return callbacks_.say(
        local_rank,
        link::LoadedParts{.number = part.number, .error = "an earlier load of this node goes on"},
        "");
  }
  const TimePoint deadline = now + std::chrono::milliseconds(part.timeout_ms);
  if (!load_) load_ = Load{.deadline = deadline};
  load_->deadline = std::min(load_->deadline, deadline);
  const bool alone = load_->parts.empty();
  const std::uint32_t first = alone ? local_rank : load_->parts.begin()->first;
  const bool alike = alone || part.patterns == load_->parts.at(first).patterns;
  load_->parts[local_rank] = std::move(part);
  if (!gone_.empty()) return FailLoad(Rank(*gone_.begin()) + kEnded);
  if (!alike) {
    return FailLoad(Rank(local_rank) + " and " + Rank(first) +
                    " load different things; all ranks load alike, with the same pattern");
  }
  if (load_->parts.size() < ranks_.size()) return;
  load_->number = ++loads_;
  std::uint32_t timeout_ms = UINT32_MAX;
  for (const auto& [rank, its] : load_->parts) timeout_ms = std::min(timeout_ms, its.timeout_ms);
  callbacks_.load_came(load_->number, timeout_ms);
}

void RankMeetings::On(const checkpoint_words::LoadOf& of) {
  if (!load_ || load_->number != of.number || load_->step) return;  // Of one that has failed.
  if (!of.error.empty()) return FailLoad(of.error);
  if (!of.found) return EndLoad({.none = true});
  AskMover(of.save);
}

void RankMeetings::AskMover(const mover::SaveName& save) {
  load_->step = save.step;
  mover::LoadParts ask{.generation = save.generation,
                       .step = save.step,
                       .nonce = save.nonce,
                       .patterns = load_->parts.begin()->second.patterns};
  std::set<std::string> known;
  for (const auto& [local_rank, part] : load_->parts) {
    for (const link::StagedTensor& tensor : part.tensors) {
      if (known.insert(EncodeWire(tensor)).second) ask.tensors.push_back(tensor);
    }
  }
  callbacks_.load(ask);
}

void RankMeetings::Loaded(const Result<mover::PartsLoaded>& loaded) {
  if (!load_ || !load_->step) return;  // Of an attempt that is over.
  if (!loaded.ok()) return FailLoad(loaded.status().message());
  given_up_ = {};
  const Load load = *std::exchange(load_, std::nullopt);
  const bool by_pattern = !load.parts.begin()->second.patterns.empty();
  std::map<std::string, std::uint64_t> begins;
  for (std::size_t i = 0; !by_pattern && i < loaded->tensors.size(); ++i) {
    begins[EncodeWire(loaded->tensors[i])] = loaded->begins[i];
  }
  for (const auto& [local_rank, part] : load.parts) {
    link::LoadedParts whole{.number = part.number,
                            .bytes = loaded->bytes,
                            .host_state = loaded->host_state,
                            .step = *load.step};
    whole.tensors = by_pattern ? loaded->tensors : part.tensors;
    if (by_pattern) whole.begins = loaded->begins;
    for (std::size_t i = 0; !by_pattern && i < part.tensors.size(); ++i) {
      whole.begins.push_back(begins[EncodeWire(part.tensors[i])]);
    }
    for (const link::LoadedParts& packet : Cut(std::move(whole))) {
      callbacks_.say(local_rank, packet, packet.more ? "" : kLoaded);
    }
  }
}

void RankMeetings::FailLoad(const std::string& error) {
  EndLoad({.error = error});
}

void RankMeetings::EndLoad(const link::LoadedParts& answer) {
  const Load load = *std::exchange(load_, std::nullopt);
  for (const auto& [local_rank, part] : load.parts) {
    link::LoadedParts own = answer;
    own.number = part.number;
    callbacks_.say(local_rank, own, "");
  }
}

// ---- time ---------------------------------------------------------------------------------------

std::optional<TimePoint> RankMeetings::deadline() const {
  std::optional<TimePoint> first;
  const auto take = [&](TimePoint at) { first = first ? std::min(*first, at) : at; };
  for (const Save& save : saves_) {
    if (save.memory.empty()) take(save.deadline);
  }
  if (load_ && load_->number == 0) take(load_->deadline);
  return first;
}

void RankMeetings::Tick(TimePoint now) {
  for (auto save = saves_.begin(); save != saves_.end();) {
    const auto at = save++;
    if (!at->memory.empty() || at->deadline > now) continue;
    const std::string missing = Missing(RanksOf(at->parts));
    if (missing.empty()) {
      Fail(at, "both staging memories of this node are still being written", /*busy=*/true);
    } else {
      GiveUp(at, missing + " did not save " + StepText(at->step) + " in time; " +
                     checkpoint_words::kAllSave);
    }
  }
  if (load_ && load_->number == 0 && load_->deadline <= now) {
    FailLoad(Missing(RanksOf(load_->parts)) + " did not load in time; all ranks load alike");
  }
}

}  // namespace muster
