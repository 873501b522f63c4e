// How facts and states become the bytes of the journal, and back (proto/muster/v1/journal.proto).
//
// Promise: what is decoded compares equal to what was encoded, for every member of every
// alternative; the same value always gives the same bytes.  Pure values; any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "launcher/coordinator/facts.h"
#include "runtime/base/result.h"

namespace muster {

// Raised with every addition to journal.proto; bytes of all formats up to it can be read.
inline constexpr std::uint32_t kJournalFormat = 1;

struct EncodedFact {
  std::string kind;          // "job_accepted": for people who look into the journal.
  std::optional<JobId> job;  // The job that it is about, if any; likewise.
  std::string bytes;
};

EncodedFact EncodeFact(const Fact& fact);
std::string EncodeState(const State& state);

// kInvalid: of a newer format; kDataLoss: not what EncodeFact() or EncodeState() wrote.
Result<Fact> DecodeFact(const std::string& bytes);
Result<State> DecodeState(const std::string& bytes);

// The refusal of a journal whose format is above ours: names both, says what to do.
Status NewerJournal(std::uint64_t found);

}  // namespace muster
