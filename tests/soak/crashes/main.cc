// crash_histories --seed FIRST --count N [--trace]: N histories of checkpoints (history.h).
//
// Ends at the first that breaks a promise, with the command that shows it again; also with an error
// when something was too rare to say anything about it.  The last line is JSON.
#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "tests/soak/crashes/history.h"

namespace muster::checkpoint {
namespace {

// In 10,000 histories each was reached at least so often.
const std::map<std::string, std::uint64_t> kLeast = {
    {"a call failed", 1000},
    {"a late request took effect", 50},
    {"a load failed", 50},
    {"a node was lost", 500},
    {"a process died", 1000},
    {"a save was abandoned", 500},
    {"a save was left behind", 500},
    {"a save was overtaken", 100},
    {"an attempt began over another", 1000},
    {"another mover took over", 1000},
    {"bytes were sent again", 100},
    {"calls failed for some time", 1000},
    {"commits acknowledged", 10000},
    {"died with a request under way", 500},
    {"loads", 5000},
    {"power or server was lost", 500},
};

int TooRare(const Tally& tally, std::uint64_t histories) {
  int rare = 0;
  std::map<std::string, std::uint64_t> leasts = kLeast;
  for (const Fault fault : kFaults) leasts[Name(fault)] = 100;
  for (const auto& [what, least] : leasts) {
    const auto at = tally.counts.find(what);
    const std::uint64_t count = at == tally.counts.end() ? 0 : at->second;
    if (count * 10000 >= least * histories) continue;
    std::cout << "too rare: " << what << ", " << count << " in " << histories << " histories\n";
    ++rare;
  }
  // Each call that is made often enough was died in.
  for (const auto& [point, found] : tally.points) {
    if (found.made < 20'000 || found.died > 0) continue;
    std::cout << "never died in: call " << point.second << " of " << point.first << "\n";
    ++rare;
  }
  return rare;
}

void PrintTally(const Tally& tally) {
  for (const auto& [what, count] : tally.counts) std::cout << "  " << what << ": " << count << "\n";
  std::map<std::string, std::pair<int, int>> parts;
  for (const auto& [point, found] : tally.points) {
    ++parts[point.first].first;
    parts[point.first].second += found.died > 0 ? 1 : 0;
  }
  for (const auto& [part, points] : parts) {
    std::cout << "  died in " << points.second << " of the " << points.first << " calls of a "
              << part << "\n";
  }
}

int Main(const std::vector<std::string>& words) {
  std::uint64_t first = 1, count = 1000;
  bool trace = false;
  for (std::size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "--trace") {
      trace = true;
    } else if ((words[i] == "--seed" || words[i] == "--count") && i + 1 < words.size()) {
      (words[i] == "--seed" ? first : count) = std::strtoull(words[i + 1].c_str(), nullptr, 10);
      ++i;
    } else {
      std::cerr << "crash_histories: what is '" << words[i]
                << "'?  --seed FIRST --count N [--trace]\n";
      return 2;
    }
  }
  Tally tally;
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    const std::string broken = RunHistory(seed, tally, trace);
    if (broken.empty()) continue;
    std::cout << "seed " << seed << ": " << broken
              << "\nagain: build/release/bin/crash_histories --count 1 --trace --seed " << seed
              << "\n{\"soak\": \"crashes\", \"broken\": \"" << broken.substr(0, broken.find(':'))
              << "\", \"seed\": " << seed << "}\n";
    return 1;
  }
  PrintTally(tally);
  const int rare = count >= 1000 ? TooRare(tally, count) : 0;
  std::uint64_t crashes = 0;
  for (const auto& [point, found] : tally.points) crashes += found.died;
  std::cout << count << " schedules, " << crashes << " crashes: 0 lost, 0 torn\n"
            << "{\"soak\": \"crashes\", \"seed\": " << first << ", \"count\": " << count
            << ", \"crashes\": " << crashes << ", \"lost\": 0, \"torn\": 0, \"too_rare\": " << rare
            << "}\n";
  return rare == 0 ? 0 : 1;
}

}  // namespace
}  // namespace muster::checkpoint

int main(int argc, char** argv) {
  return muster::checkpoint::Main({argv + 1, argv + argc});
}
