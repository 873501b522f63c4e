// cluster_sim FIRST_SEED COUNT [--trace] [--any-coverage] [--seeds FILE]: COUNT histories of a
// whole cluster.  Fails at the first broken promise, or when a kind of history is too rare.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>

#include "tests/sim/world.h"

namespace muster::sim {
namespace {

// In ten thousand histories each kind must be reached at least as often as this.
const std::map<std::string, std::uint64_t> kLeast = {
    {"a better cause was heard", 500},
    {"a reason named drain --dead", 100},
    {"a node is cut off when it is already lost", 500},
    {"agent killed", 3000},
    {"agent killed as an order came", 100},
    {"attempt refused before it began", 10},
    {"cancel while stopping", 300},
    {"checkpoint committed", 10000},
    {"client lost", 400},
    {"connection between daemons broken", 300},
    {"coordinator killed", 3000},
    {"coordinator lost between journal and send", 40},
    {"coordinator lost facts that were not durable", 100},
    {"daemon did not come up", 80},
    {"daemon killed", 1000},
    {"daemon killed as an order came", 100},
    {"job cancelled", 1000},
    {"job failed", 1000},
    {"job refused", 100},
    {"job succeeded", 3000},
    {"jobs that want one slot", 10000},
    {"node gone for good", 500},
    {"node heard again on its stream", 500},
    {"node lost while stopping", 1000},
    {"node drained", 1000},
    {"node rebooted", 2000},
    {"node rebooted while its order waited for the disk", 100},
    {"node rebooted while its registration was read", 100},
    {"partition", 5000},
    {"rank killed", 500},
    {"ranks forked", 10000},
    {"ranks killed by the fence", 200},
    {"released: a new boot", 1000},
    {"released: drained dead", 150},
    {"released: fenced", 800},
    {"restart", 3000},
    {"stale order", 30},
    {"stale registration", 30},
    {"stale stream", 80},
    {"stop turned out well", 200},
    {"submitted twice with one key", 1000},
};

// And where some of the seeds have elastic jobs.
const std::map<std::string, std::uint64_t> kLeastElastic = {{"attempt on fewer nodes", 1000}};
// And where the machines are paused.
const std::map<std::string, std::uint64_t> kLeastPaused = {{"everything paused", 5000},
                                                           {"paused daemon forgave", 500}};
// And where jobs go on with one run.
const std::map<std::string, std::uint64_t> kLeastRuns = {{"job went on with a run", 5000}};

bool Holds(std::uint64_t seed, bool trace, Counts& counts) {
  const std::string broken = World(seed, trace, counts).Run();
  if (broken.empty()) return true;
  std::printf("seed %llu: violated: %s\n", static_cast<unsigned long long>(seed), broken.c_str());
  return false;
}

int CountRare(const Counts& counts, const std::map<std::string, std::uint64_t>& leasts,
              std::uint64_t histories) {
  int rare = 0;
  for (const auto& [what, least] : leasts) {
    const auto found = counts.find(what);
    const std::uint64_t count = found == counts.end() ? 0 : found->second;
    if (count * 10000 >= least * histories) continue;
    std::printf("too rare: %s, %llu in %llu histories\n", what.c_str(),
                static_cast<unsigned long long>(count), static_cast<unsigned long long>(histories));
    ++rare;
  }
  return rare;
}

int PrintCounts(const Counts& counts, std::uint64_t first, std::uint64_t histories) {
  for (const auto& [what, count] : counts) {
    std::printf("%10llu  %s\n", static_cast<unsigned long long>(count), what.c_str());
  }
  return CountRare(counts, kLeast, histories) +
         (first > kLastRigidSeed ? CountRare(counts, kLeastElastic, histories) : 0) +
         (first > kLastSteadySeed ? CountRare(counts, kLeastPaused, histories) : 0) +
         (first > kLastOwnRunsSeed ? CountRare(counts, kLeastRuns, histories) : 0);
}

int Main(int argc, char** argv) {
  std::uint64_t first = 1, count = 10000;
  bool trace = false;
  const char* file = nullptr;
  int position = 0;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--trace") == 0) {
      trace = true;
    } else if (std::strcmp(argv[i], "--seeds") == 0 && i + 1 < argc) {
      file = argv[++i];
    } else {
      (position++ == 0 ? first : count) = std::strtoull(argv[i], nullptr, 10);
    }
  }
  Counts counts;
  if (file != nullptr) {
    std::ifstream in(file);
    std::uint64_t seeds = 0;
    for (std::string line; std::getline(in, line);) {
      if (line.empty() || line[0] == '#') continue;
      if (!Holds(std::strtoull(line.c_str(), nullptr, 10), trace, counts)) return 1;
      ++seeds;
    }
    std::printf("%llu kept seeds held\n", static_cast<unsigned long long>(seeds));
    return seeds > 0 ? 0 : 1;
  }
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    if (!Holds(seed, trace, counts)) return 1;
  }
  const int rare = count >= 1000 ? PrintCounts(counts, first, count) : 0;
  std::printf("%llu seeds from %llu held\n", static_cast<unsigned long long>(count),
              static_cast<unsigned long long>(first));
  return rare == 0 ? 0 : 1;
}

}  // namespace
}  // namespace muster::sim

int main(int argc, char** argv) {
  return muster::sim::Main(argc, argv);
}
