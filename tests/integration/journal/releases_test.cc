// The journals kept from every release, in tests/journals: each leads to the state dumped beside
// it.
//
// `journal_releases_test --regenerate` writes the ones of the present format anew.  That is right
// while no release has that format, and never afterwards: then Apply() has to stay what it was.

#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <set>
#include <string>

#include "launcher/coordinator/facts_proto.h"
#include "muster/v1/journal.pb.h"
#include "runtime/base/file_posix.h"
#include "tests/integration/journal/real_journal_threads.h"
#include "tests/integration/lib/clean_test.h"

namespace muster::testing {
namespace {

namespace fs = std::filesystem;
using google::protobuf::TextFormat;

const fs::path kJournals = fs::path(MUSTER_ROOT) / "tests/journals";
constexpr int kDecisions = 150;

std::string Dump(const State& state) {
  v1::journal::State on_disk;
  std::string text;
  CHECK(on_disk.ParseFromString(EncodeState(state)) && TextFormat::PrintToString(on_disk, &text));
  return text;
}

Result<State> ReadDump(const fs::path& path) {
  const auto text = ReadFile(path);
  if (!text.ok()) return text.status();
  v1::journal::State on_disk;
  if (!TextFormat::ParseFromString(*text, &on_disk)) {
    return Status(Code::kDataLoss, path.string() + " is not a dumped state");
  }
  return DecodeState(on_disk.SerializeAsString());
}

// The time of every row, so that the same facts give the same file.
class StoppedClock : public Clock {
 public:
  TimePoint Now() override { return TimePoint(); }
  WallTime Wall() override { return WallTime(std::chrono::hours(24 * 365 * 56)); }
};

Status Regenerate() {
  const fs::path path = kJournals / ("v" + std::to_string(kJournalFormat) + ".sqlite");
  fs::create_directories(kJournals);
  fs::remove(path);
  StoppedClock clock;
  JournalThread journal(path, clock);
  auto loaded = journal.Load();
  if (!loaded.ok()) return loaded.status();
  journal.Start(nullptr);
  State& state = loaded->state;
  SampleFacts facts(1, 20);
  for (int i = 0; i < kDecisions; ++i) {
    std::vector<Fact> decision = facts.Next(state);
    for (const Fact& fact : decision) Apply(state, fact);
    journal.Append(std::move(decision));
    if (i == kDecisions / 3) journal.Snapshot(state);
  }
  RETURN_IF_ERROR(journal.Stop());
  fs::remove(path.string() + ".lock");
  fs::permissions(path, fs::perms(0644));
  return WriteFileAtomically(fs::path(path).replace_extension("state"), Dump(state), 0644);
}

class JournalReleases : public CleanTest {};

TEST_F(JournalReleases, EveryKeptJournalLeadsToItsState) {
  std::set<std::string> names;
  for (const auto& entry : fs::directory_iterator(kJournals)) {
    const fs::path& path = entry.path();
    if (path.extension() != ".sqlite") continue;
    names.insert(path.stem());
    const fs::path copy = fs::path(scene_.folder()) / path.filename();
    fs::copy_file(path, copy);
    const Result<State> replayed = Reopen(copy);
    ASSERT_TRUE(replayed.ok()) << replayed.status().message();
    const Result<State> dumped = ReadDump(fs::path(path).replace_extension("state"));
    ASSERT_TRUE(dumped.ok()) << dumped.status().message();
    EXPECT_EQ(*replayed, *dumped) << path << " leads to\n" << Dump(*replayed);
  }
  for (std::uint32_t format = 1; format <= kJournalFormat; ++format) {
    EXPECT_TRUE(names.contains("v" + std::to_string(format))) << "no journal of format " << format;
  }
}

TEST_F(JournalReleases, EveryKindOfFactIsInTheNewestJournalAndReplayedFromIt) {
  const std::string copy = scene_.folder() + "/copy.sqlite";
  fs::copy_file(kJournals / ("v" + std::to_string(kJournalFormat) + ".sqlite"), copy);
  const std::string kinds = Shell(copy,
                                  "SELECT count(DISTINCT kind) FROM fact WHERE sequence >"
                                  " (SELECT max(sequence) FROM snapshot)");
  // All but the two that begin a life.
  EXPECT_EQ(kinds, std::to_string(std::variant_size_v<Fact> - 2) + "\n");
}

}  // namespace
}  // namespace muster::testing

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (argc == 1) return RUN_ALL_TESTS();
  if (argc != 2 || std::string(argv[1]) != "--regenerate") {
    std::fprintf(stderr, "usage: %s [--regenerate]\n", argv[0]);
    return 2;
  }
  const muster::Status status = muster::testing::Regenerate();
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.message().c_str());
  return status.ok() ? 0 : 1;
}
