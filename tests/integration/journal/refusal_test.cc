// Files that a coordinator must not take for its journal, or must not take at all.

#include <gtest/gtest.h>
#include <isa-l/crc.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <functional>
#include <random>
#include <string>

#include "runtime/base/file_posix.h"
#include "tests/integration/journal/real_journal_threads.h"
#include "tests/integration/lib/clean_test.h"

namespace muster::testing {
namespace {

namespace fs = std::filesystem;

class JournalRefusal : public CleanTest {
 protected:
  // A journal with a snapshot and a tail, closed.
  State MakeJournal() {
    Life life(path_);
    EXPECT_EQ(life.Begin(), Status());
    for (int i = 0; i < 150; ++i) life.Decide();
    life.Snapshot();
    for (int i = 0; i < 150; ++i) life.Decide();
    EXPECT_EQ(life.Stop(), Status());
    return life.state();
  }

  std::string Bytes() {
    auto bytes = ReadFile(path_);
    EXPECT_TRUE(bytes.ok());
    return *std::move(bytes);
  }

  // Refused for this reason, in these words, and left as it is.
  void ExpectRefused(Code code, const std::vector<std::string>& words) {
    const std::string before = Bytes();
    const Status status = Reopen(path_).status();
    EXPECT_EQ(status.code(), code) << status.message();
    for (const std::string& word : words) {
      EXPECT_NE(status.message().find(word), std::string::npos)
          << "'" << word << "' is missing in: " << status.message();
    }
    EXPECT_EQ(Bytes(), before) << "the file was changed";
  }

  std::string path_ = scene_.folder() + "/journal.sqlite";
};

// Runs `body` in a child; it passes when it returns true.
bool InChild(const std::function<bool()>& body) {
  const pid_t child = fork();
  if (child == 0) _exit(body() ? 0 : 1);
  int status = 0;
  return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(JournalRefusal, AJournalFromANewerVersion) {
  MakeJournal();
  Shell(path_, "PRAGMA user_version = 7");
  ExpectRefused(Code::kInvalid, {path_, "from a newer version", "format is 7", "up to 1",
                                 "start the newer muster"});
}

TEST_F(JournalRefusal, AFactFromANewerVersion) {
  Life life(path_);
  ASSERT_EQ(life.Begin(), Status());
  ASSERT_EQ(life.Stop(), Status());
  std::string fact("\x08\x02", 2);  // {format: 2}, and nothing that we know.
  const auto crc = crc32_iscsi(reinterpret_cast<unsigned char*>(fact.data()), 2, 1);
  Shell(path_, "INSERT INTO fact VALUES (1, '', 'of_the_future', NULL, X'0802', " +
                   std::to_string(crc) + ")");
  ExpectRefused(Code::kInvalid, {path_, "fact 1", "from a newer version", "format is 2"});
  Shell(path_, "UPDATE fact SET sequence = 2");
  ExpectRefused(Code::kDataLoss, {path_, "fact 2 is damaged: its checksum differs"});
}

TEST_F(JournalRefusal, AFileThatWasCutOffAnywhere) {
  MakeJournal();
  const std::string whole = Bytes();
  const std::size_t page = 4096;
  ASSERT_GT(whole.size(), 10 * page);
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{50}, std::size_t{100}, page - 1, page, 3 * page,
        whole.size() / 2, whole.size() - page, whole.size() - 1}) {
    ASSERT_EQ(WriteFileAtomically(path_, whole.substr(0, size)), Status());
    const Status status = Reopen(path_).status();
    EXPECT_TRUE(status.code() == Code::kDataLoss || status.code() == Code::kInvalid)
        << size << " bytes: " << CodeName(status.code()) << " " << status.message();
    EXPECT_EQ(Bytes(), whole.substr(0, size)) << "the file was changed";
  }
}

TEST_F(JournalRefusal, AByteThatWasChangedIsFoundOrDoesNotMatter) {
  const State state = MakeJournal();
  const std::string whole = Bytes();
  const std::uint64_t seed = std::random_device()();
  std::printf("journal: seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 chance(seed);
  int found = 0;
  for (int i = 0; i < 200; ++i) {
    std::string bytes = whole;
    const std::size_t at = chance() % bytes.size();
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << (chance() % 8)));
    ASSERT_EQ(WriteFileAtomically(path_, bytes), Status());
    const Result<State> read = Reopen(path_);
    if (!read.ok()) {
      ++found;
    } else {
      ASSERT_EQ(*read, state) << "byte " << at << " changed the state";
    }
  }
  EXPECT_GT(found, 20) << "the rest hit facts that a snapshot made superfluous";
}

TEST_F(JournalRefusal, ASqliteFileOfAnotherProgram) {
  Shell(path_, "CREATE TABLE precious (x); PRAGMA application_id = 305419896");
  ExpectRefused(Code::kInvalid, {path_, "of another program", "0x12345678", "nothing was changed"});
}

TEST_F(JournalRefusal, AFileThatIsNoSqliteAtAll) {
  ASSERT_EQ(WriteFileAtomically(path_, std::string(5000, 'x')), Status());
  ExpectRefused(Code::kInvalid, {path_, "no SQLite file", "nothing was changed"});
}

TEST_F(JournalRefusal, SomethingThatIsNoFile) {
  ASSERT_EQ(MakeFolders(path_), Status());
  EXPECT_FALSE(Reopen(path_).ok());
  ASSERT_EQ(RemoveTree(path_), Status());
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  const Status status = Reopen(path_).status();
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_NE(status.message().find("not a regular file"), std::string::npos) << status.message();
}

TEST_F(JournalRefusal, ALogWhoseDatabaseIsGone) {
  Life life(path_);
  ASSERT_EQ(life.Begin(), Status());
  life.DecideAndWait(20);
  const std::string other = scene_.folder() + "/other.sqlite";
  fs::copy_file(path_ + "-wal", other + "-wal");
  const Status status = Reopen(other).status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("is gone"), std::string::npos) << status.message();
  EXPECT_FALSE(fs::exists(other));
  ASSERT_EQ(life.Stop(), Status());
}

TEST_F(JournalRefusal, AMissingFact) {
  MakeJournal();
  Shell(path_, "DELETE FROM fact WHERE sequence = (SELECT max(sequence) - 5 FROM fact)");
  ExpectRefused(Code::kDataLoss, {path_, "is missing"});
}

TEST_F(JournalRefusal, ADamagedSnapshotSaysHowToGoOnWithoutIt) {
  const State state = MakeJournal();
  Shell(path_, "UPDATE snapshot SET crc = crc + 1");
  const Status status = Reopen(path_).status();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  const std::size_t begin = status.message().find("DELETE FROM");
  ASSERT_NE(begin, std::string::npos) << status.message();
  Shell(path_, status.message().substr(begin, status.message().find('`', begin) - begin));
  const Result<State> rebuilt = Reopen(path_);
  ASSERT_TRUE(rebuilt.ok()) << rebuilt.status().message();
  EXPECT_EQ(*rebuilt, state);
}

TEST_F(JournalRefusal, ASecondCoordinatorIsToldThePidOfTheFirst) {
  MakeJournal();
  int ready[2];
  int end[2];
  ASSERT_EQ(pipe(ready), 0);
  ASSERT_EQ(pipe(end), 0);
  const pid_t first = fork();
  if (first == 0) {
    close(end[1]);
    Life life(path_);
    char byte = life.Begin().ok() ? 'y' : 'n';
    if (write(ready[1], &byte, 1) != 1 || read(end[0], &byte, 1) != 0) _exit(1);
    _exit(0);  // Without Stop(), as a crash.
  }
  char byte = 0;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  const Status status = Reopen(path_).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find("pid " + std::to_string(first) + ")"), std::string::npos)
      << status.message();
  for (const int fd : {end[0], end[1], ready[0], ready[1]}) close(fd);
  ASSERT_EQ(waitpid(first, nullptr, 0), first);
  EXPECT_TRUE(Reopen(path_).ok()) << "the lock ends with its holder";
}

TEST_F(JournalRefusal, AFolderThatCannotBeWritten) {
  const std::string folder = scene_.folder() + "/read-only";
  ASSERT_EQ(MakeFolders(folder, 0755), Status());
  ASSERT_EQ(chmod(scene_.folder().c_str(), 0755), 0);
  const auto denied = [&folder] {
    const Status status = Reopen(folder + "/journal.sqlite").status();
    const bool says = status.message().find(folder) != std::string::npos &&
                      status.message().find("Permission denied") != std::string::npos;
    if (!says) std::printf("%s\n", status.message().c_str());
    return status.code() == Code::kDenied && says;
  };
  if (getuid() == 0) {  // Who may write everywhere.
    EXPECT_TRUE(InChild([&] { return setresuid(65534, 65534, 65534) == 0 && denied(); }));
  } else {
    ASSERT_EQ(chmod(folder.c_str(), 0555), 0);
    EXPECT_TRUE(denied());
    ASSERT_EQ(chmod(folder.c_str(), 0755), 0);
  }
}

}  // namespace
}  // namespace muster::testing
