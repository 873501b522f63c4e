// A coordinator's journal while the coordinator is killed, again and again.

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <random>
#include <string>

#include "runtime/base/file_posix.h"
#include "tests/integration/journal/real_journal_threads.h"
#include "tests/integration/lib/clean_test.h"

namespace muster::testing {
namespace {

constexpr int kLives = 30;
constexpr std::uint64_t kAhead = 64;  // Decisions that wait for the disk at most.

class JournalKill : public CleanTest {
 protected:
  std::string path_ = scene_.folder() + "/journal.sqlite";
};

// Journals until it is killed, and tells the pipe how far the disk is, after each commit.
[[noreturn]] void Write(const std::string& path, std::uint64_t seed, int pipe) {
  Life life(path, seed);
  if (!life.Begin().ok()) _exit(1);
  std::uint64_t appended = 0;
  std::uint64_t told = 0;
  for (;;) {
    appended = life.Decide();
    if (appended % 50 == 0) life.Snapshot();
    const JournalProgress progress = life.told().WaitFor(appended < kAhead ? 0 : appended - kAhead);
    if (!progress.failure.ok()) _exit(2);
    if (progress.durable == told) continue;
    told = progress.durable;
    if (write(pipe, &told, sizeof told) != sizeof told) _exit(3);
  }
}

// The life that the seed gives, up to the state that is there now; nothing acknowledged may lack.
void ExpectLivedOn(const State& before, const State& after, std::uint64_t seed,
                   std::uint64_t acknowledged) {
  State state = before;
  SampleFacts facts(seed);
  for (std::uint64_t k = 0; k <= acknowledged + 2 * kAhead; ++k) {
    if (k >= acknowledged && state == after) return;
    for (const Fact& fact : facts.Next(state)) Apply(state, fact);
  }
  ADD_FAILURE() << "what is there is no state after the " << acknowledged << " acknowledged ones";
}

// Kills a writer once it has acknowledged `enough`; returns how many it had by then.
std::uint64_t KillAfter(const std::string& path, std::uint64_t seed, std::uint64_t enough) {
  int ends[2];
  CHECK(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    Write(path, seed, ends[1]);
  }
  close(ends[1]);
  const UniqueFd from(ends[0]);
  std::uint64_t acknowledged = 0;
  while (acknowledged < enough && ReadAll(from.get(), &acknowledged, sizeof acknowledged).ok()) {
  }
  kill(child, SIGKILL);
  while (ReadAll(from.get(), &acknowledged, sizeof acknowledged).ok()) {
  }
  int status = 0;
  EXPECT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status)) << "it ended by itself with " << WEXITSTATUS(status);
  return acknowledged;
}

TEST_F(JournalKill, WhatWasAcknowledgedIsThereHoweverOftenItsWriterIsKilled) {
  const std::uint64_t seed = std::random_device()();
  std::printf("journal: seed %llu\n", static_cast<unsigned long long>(seed));
  std::mt19937_64 chance(seed);
  std::uint64_t total = 0;
  State before;
  for (int life = 0; life < kLives && !HasFailure(); ++life) {
    const std::uint64_t life_seed = chance();
    const std::uint64_t acknowledged = KillAfter(path_, life_seed, chance() % 100);
    const Result<State> after = Reopen(path_);
    ASSERT_TRUE(after.ok()) << after.status().message();
    ExpectLivedOn(before, *after, life_seed, acknowledged);
    before = *after;
    total += acknowledged;
  }
  std::printf("journal: %d kills, %llu decisions acknowledged\n", kLives,
              static_cast<unsigned long long>(total));
  EXPECT_GT(total, 300U);
}

}  // namespace
}  // namespace muster::testing
