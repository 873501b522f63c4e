#include "launcher/coordinator/share_limits.h"

#include <gtest/gtest.h>

#include <random>

#include "launcher/coordinator/decide.h"

namespace muster {
namespace {

TEST(ShareLimits, AreOfAFolderAndAllBelowIt) {
  EXPECT_TRUE(IsOnShare("/nfs", "/nfs"));
  EXPECT_TRUE(IsOnShare("/nfs/a/b", "/nfs/"));
  EXPECT_TRUE(IsOnShare("/nfs/", "/nfs"));
  EXPECT_TRUE(IsOnShare("/x", "/"));
  EXPECT_FALSE(IsOnShare("/nfs2", "/nfs"));
  EXPECT_FALSE(IsOnShare("/", "/nfs"));
  EXPECT_FALSE(IsOnShare("", "/nfs"));
  EXPECT_TRUE(IsOnShare("nfs://h/e/dir?nconnect=8", "nfs://h/e"));
  EXPECT_TRUE(IsOnShare("nfs://h/e", "nfs://h/e?nconnect=2"));
  EXPECT_FALSE(IsOnShare("nfs://h/export2", "nfs://h/export"));
}

TEST(ShareLimits, AJobGetsItsPartAndNeverMoreThanItAsksFor) {
  const std::vector<ShareLimit> shares = {{"/nfs", 1000}, {"/nfs/slow", 100}};
  EXPECT_EQ(AttemptLimit(shares, "/nfs/a", 0, {.slots = 2, .of = 8}), 250U);
  EXPECT_EQ(AttemptLimit(shares, "/nfs/a", 100, {.slots = 2, .of = 8}), 100U);
  EXPECT_EQ(AttemptLimit(shares, "/nfs/slow/a", 0, {.slots = 2, .of = 8}), 25U) << "both hold";
  EXPECT_EQ(AttemptLimit(shares, "/scratch", 0, {.slots = 2, .of = 8}), 0U) << "no limit";
  EXPECT_EQ(AttemptLimit(shares, "/scratch", 7, {.slots = 2, .of = 8}), 7U);
  EXPECT_EQ(AttemptLimit(shares, "/nfs/a", 0, {.slots = 1, .of = 100'000}), 1U) << "0 is none";
  EXPECT_EQ(AttemptLimit(shares, "/nfs/a", 0, {.slots = 9, .of = 8}), 1000U);
  const std::vector<ShareLimit> most = {{"/", 4'294'967'295'000'000}};
  EXPECT_EQ(AttemptLimit(most, "/a", 0, {.slots = 6'000'000, .of = 6'000'000}),
            most[0].bytes_per_s);
}

TEST(ShareLimits, HoldForAllJobsTogetherHoweverSlotsAreDealt) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 2000; ++round) {
    const std::uint64_t of = 1 + random() % 5000;
    const std::vector<ShareLimit> shares = {{"/nfs", of + random() % 10'000'000'000'000}};
    std::uint64_t left = of, sum = 0;
    while (left > 0) {
      const std::uint64_t slots = 1 + random() % left;
      sum += AttemptLimit(shares, "/nfs/x", 0, {.slots = slots, .of = of});
      left -= slots;
    }
    ASSERT_LE(sum, shares[0].bytes_per_s);
    ASSERT_GT(sum, shares[0].bytes_per_s - of);
  }
}

TEST(ShareLimits, AreInTheOrdersOfAnAttempt) {
  State state;
  for (const char* name : {"n1", "n2", "n3"}) state.nodes[name].slots = 4;
  Job job{.spec = {.checkpoint = {.store = "/nfs/a"}}};
  job.attempt.emplace();
  job.attempt->members = {{.host = {.node = "n1", .slots = {0, 1}}},
                          {.host = {.node = "n3", .slots = {3}}}};
  const Limits limits{.shares = {{"/nfs", 1200}}};
  EXPECT_EQ(MakeStartOrder(state, job, 1, limits).checkpoint.bytes_per_s, 300U);
  EXPECT_EQ(MakeStartOrder(state, job, 1, {}).checkpoint.bytes_per_s, 0U);
  const Limits without_n2{.shares = {{"/nfs", 1200}}, .nodes = {"n1", "n3"}};
  EXPECT_EQ(MakeStartOrder(state, job, 1, without_n2).checkpoint.bytes_per_s, 450U)
      << "a node that the file names no more";
}

}  // namespace
}  // namespace muster
