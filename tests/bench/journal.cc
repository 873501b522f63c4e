// ./dev bench journal [FOLDER...]: commits and facts a second on the disks of these folders, and
// replay.  The peer of a commit is one write of 4 KiB and fdatasync: what a disk can do at best.

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "launcher/coordinator/facts_proto.h"
#include "runtime/base/file_posix.h"
#include "tests/integration/journal/real_journal_threads.h"

namespace muster::testing {
namespace {

constexpr int kRuns = 7;
constexpr int kSingles = 300;
constexpr std::uint64_t kGrouped = 20000;
constexpr std::uint64_t kWaiting = 1024;
constexpr std::uint64_t kReplayed = 100000;

double Seconds(const std::function<void()>& work) {
  const TimePoint begin = RealClock().Now();
  work();
  return std::chrono::duration<double>(RealClock().Now() - begin).count();
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void Must(const Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "bench journal: %s\n", status.message().c_str());
  std::exit(1);
}

// Removed with all that was made in it.
class Folder {
 public:
  explicit Folder(const std::string& parent)
      : name_(parent + "/muster-bench-" + std::to_string(getpid())) {
    Must(MakeFolders(name_));
  }
  ~Folder() { (void)RemoveTree(name_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  std::string File(const std::string& file) const { return name_ + "/" + file; }

 private:
  std::string name_;
};

double PeerCommits(const Folder& folder) {
  const UniqueFd fd(open(folder.File("peer").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  const std::string page(4096, '\x5a');
  return kSingles / Seconds([&] {
           for (int i = 0; i < kSingles; ++i) {
             if (pwrite(fd.get(), page.data(), page.size(), off_t{i % 64} * 4096) < 0) std::exit(1);
             if (fdatasync(fd.get()) != 0) std::exit(1);
           }
         });
}

// The coordinator's decisions, made beforehand: only the journal is measured.
std::vector<std::vector<Fact>> Decisions(std::uint64_t facts) {
  std::vector<std::vector<Fact>> decisions;
  SampleFacts source(1);
  State state;
  std::uint64_t made = 0;
  while (made < facts) {
    // Jobs that ended long ago are of no more interest to the sample, and slow it down.
    if (state.jobs.size() > 200) state.jobs.erase(state.jobs.begin());
    decisions.push_back(source.Next(state));
    for (const Fact& fact : decisions.back()) Apply(state, fact);
    made += decisions.back().size();
  }
  return decisions;
}

struct Writer {
  explicit Writer(const std::string& path) : journal(path, RealClock()) {
    Must(journal.Load().status());
    journal.Start(told.Listener());
  }
  // Waits as soon as more than `waiting` decisions are on their way.
  void Write(const std::vector<Fact>& decision, std::uint64_t waiting) {
    const std::uint64_t number = journal.Append(decision);
    Must(told.WaitFor(number < waiting ? 0 : number - waiting).failure);
  }
  Told told;
  JournalThread journal;
};

double SingleCommits(Writer* writer) {
  const std::vector<Fact> decision = {NodeWasLost{.name = "n0"}};
  return kSingles / Seconds([&] {
           for (int i = 0; i < kSingles; ++i) writer->Write(decision, 0);
         });
}

double GroupedFacts(Writer* writer, const std::vector<std::vector<Fact>>& decisions) {
  return static_cast<double>(kGrouped) / Seconds([&] {
           for (const auto& decision : decisions) writer->Write(decision, kWaiting);
           writer->Write({}, 0);
         });
}

std::string Case(const std::string& name, const std::string& unit, double ours, double theirs) {
  char line[300];
  std::snprintf(line, sizeof line, "%-28s %12.0f %12.0f  %s\n", name.c_str(), ours, theirs,
                unit.c_str());
  std::fputs(line, stdout);
  std::fflush(stdout);
  const std::string peer =
      theirs > 0 ? ",\"theirs\":" + std::to_string(theirs) +
                       ",\"peer\":\"write+fdatasync\",\"ratio\":" + std::to_string(ours / theirs)
                 : "";
  return "{\"case\":\"" + name + "\",\"unit\":\"" + unit +
         "\",\"better\":\"higher\",\"ours\":" + std::to_string(ours) + peer +
         ",\"runs\":" + std::to_string(kRuns) + "}";
}

void BenchCommits(const std::string& parent, std::vector<std::string>* cases) {
  const Folder folder(parent);
  const auto decisions = Decisions(kGrouped);
  std::vector<double> singles;
  std::vector<double> grouped;
  std::vector<double> peers;
  for (int run = 0; run < kRuns; ++run) {
    Writer writer(folder.File("journal-" + std::to_string(run)));
    if (run % 2 == 0) peers.push_back(PeerCommits(folder));
    singles.push_back(SingleCommits(&writer));
    if (run % 2 == 1) peers.push_back(PeerCommits(folder));
    grouped.push_back(GroupedFacts(&writer, decisions));
    Must(writer.journal.Stop());
  }
  cases->push_back(Case("commits " + parent, "1/s", Median(singles), Median(peers)));
  cases->push_back(Case("grouped facts " + parent, "1/s", Median(grouped), 0));
}

// Without a snapshot: a coordinator's tail has a tenth of it.
void BenchReplay(const std::string& parent, std::vector<std::string>* cases) {
  const Folder folder(parent);
  const std::string path = folder.File("journal");
  {
    Writer writer(path);
    for (const auto& decision : Decisions(kReplayed)) writer.Write(decision, kWaiting);
    Must(writer.journal.Stop());
  }
  std::vector<double> rates;
  State state;
  for (int run = 0; run < kRuns; ++run) {
    rates.push_back(static_cast<double>(kReplayed) / Seconds([&] {
                      auto read = Reopen(path);
                      Must(read.status());
                      state = *std::move(read);
                    }));
  }
  cases->push_back(Case("replay of 100,000 facts", "1/s", Median(rates), 0));

  std::vector<double> snapshots;
  for (int run = 0; run < kRuns; ++run) {
    snapshots.push_back(1 / Seconds([&] { Must(DecodeState(EncodeState(state)).status()); }));
  }
  cases->push_back(Case("encode+decode " + std::to_string(state.jobs.size()) + " jobs", "1/s",
                        Median(snapshots), 0));
}

}  // namespace
}  // namespace muster::testing

int main(int argc, char** argv) {
  std::vector<std::string> folders(argv + 1, argv + argc);
  if (folders.empty()) folders = {"/var/tmp", "/dev/shm"};
  std::vector<std::string> cases;
  std::printf("%-28s %12s %12s\n", "case", "ours", "theirs");
  for (const std::string& folder : folders) muster::testing::BenchCommits(folder, &cases);
  muster::testing::BenchReplay(folders.back(), &cases);
  std::string all;
  for (const std::string& one : cases) all += (all.empty() ? "" : ",") + one;
  std::printf("{\"bench\":\"journal\",\"cases\":[%s]}\n", all.c_str());
  return 0;
}
