// Which commits of a run stay: the newest, one of each period, those with the best metric, and the
// one of the highest step.
//
// As text, in job files, options and between processes: "last=3,every=6h,best=2,metric=loss_ema,
// better=lower".  Pinned commits stay whatever the rules say (pins.h).  Pure; any thread.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/layout.h"

namespace muster::checkpoint {

inline constexpr std::uint32_t kKeepAll = UINT32_MAX;

struct KeepRules {
  std::uint32_t last = 3;       // At least 1: the newest commit always stays.
  std::uint64_t every_min = 0;  // The first of each period of so many minutes since 1970; 0: none.
  std::uint32_t best = 0;       // So many with the best `metric`; of two that are equal, the newer.
  std::string metric;           // A number in the host state or the metadata of a save.
  bool higher = false;          // Is better.
  bool operator==(const KeepRules&) const = default;
};

// Members that are not named keep what `rules` has.  kInvalid: the sentence says what is allowed.
Result<KeepRules> ParseKeepRules(const std::string& text, KeepRules rules = {});
// Without `last`; empty when there is nothing beside it.
std::string FormatKeepAlso(const KeepRules& rules);

// What the rules look at.
struct KeepCandidate {
  CommitId id;
  bool whole = true;  // Its record can be read.  One that cannot stays while it is new.
  std::int64_t time_ms = 0;
  std::map<std::string, double> metrics;
  bool pinned = false;
};

// Why each one stays, such as "last 3, pinned"; empty: it goes.  `commits` are newest first.
std::vector<std::string> WhyKept(std::span<const KeepCandidate> commits, const KeepRules& rules);

}  // namespace muster::checkpoint
