// The options that choose which output of a job is shown, and how: of `muster logs` and `run`.
// Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launcher/cli/output_lines.h"
#include "runtime/base/result.h"

namespace CLI {  // NOLINT(readability-identifier-naming): it is CLI11's.
class App;
}

namespace muster {

struct ShowOptions {
  std::vector<std::uint32_t> ranks;  // Empty: all.
  std::vector<NodeName> nodes;       // Empty: all.
  bool no_stdout = false, no_stderr = false;
  Prefix prefix = Prefix::kAuto;
  std::optional<std::uint64_t> behind_bytes;  // Without: on a terminal kBehindBytes, else never.
};

inline constexpr std::uint64_t kBehindBytes = 16 << 20;

// "0,3-5" as 0, 3, 4, 5.
Result<std::vector<std::uint32_t>> ParseRanks(const std::string& text);

// For `run` the first three are --show-ranks and so on: --nodes is its shape.
void AddShowOptions(CLI::App& app, ShowOptions& show, bool of_run);

// How many ranks the job has; 0: it was not placed yet.
std::size_t RanksOf(const JobView& job);

// Whether the job has the ranks that they name.
Status CheckRanks(const ShowOptions& show, const JobView& job);

// What they ask of the cluster, and of whom.
LogsRequest RequestOf(const ShowOptions& show, JobId job, bool terminal);

// How it is shown for a job of that many ranks (0: not known).
OutputFormat FormatOf(const ShowOptions& show, JobId job, std::size_t ranks, bool terminal,
                      std::int64_t utc_offset_s);

}  // namespace muster
