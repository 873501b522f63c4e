#include "runtime/base/cause.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

Cause Exit(std::int32_t code) {
  return {.kind = CauseKind::kExit, .rank = 0, .node = "n0", .code = code};
}
Cause Signal(std::int32_t number) {
  return {.kind = CauseKind::kSignal, .rank = 1, .node = "n1", .code = number};
}
Cause Blaming(Cause cause) {
  cause.consequence = true;
  return cause;
}

TEST(Cause, OneThatBlamesAPeerGivesWayToEveryOther) {
  for (const Cause& cause :
       {Exit(1), Signal(9), Signal(15), Cause{.kind = CauseKind::kPeerLost},
        Cause{.kind = CauseKind::kNodeLost}, Cause{.kind = CauseKind::kJobdLost},
        Cause{.kind = CauseKind::kOutOfMemory}, Cause{.kind = CauseKind::kAborted}}) {
    EXPECT_GT(Strength(cause), Strength(Blaming(Exit(1))));
    EXPECT_GT(Strength(cause), Strength(Blaming(Signal(6))));
    EXPECT_GT(Strength(cause), Strength(Blaming({.kind = CauseKind::kAborted})));
  }
}

TEST(Cause, AnExitCodeGivesWayToAFaultAndToADaemonThatDied) {
  for (const std::int32_t fault : {4, 7, 8, 9, 11}) {
    EXPECT_GT(Strength(Signal(fault)), Strength(Exit(1)));
    EXPECT_GT(Strength(Signal(fault)), Strength({.kind = CauseKind::kJobdLost}));
  }
  EXPECT_GT(Strength({.kind = CauseKind::kJobdLost}), Strength(Exit(1)));
  EXPECT_GT(Strength(Exit(1)), Strength({.kind = CauseKind::kPeerLost}));
}

TEST(Cause, AnAbortIsNoStrongerThanAnExitCode) {
  EXPECT_EQ(Strength(Signal(6)), Strength(Exit(1)));
  EXPECT_EQ(Strength(Signal(15)), Strength(Exit(1)));
}

TEST(Cause, TheSameFailureWithMoreWordsSaysMore) {
  Cause known = Exit(1), newer = Exit(1);
  known.text = "short";
  newer.text = "much longer";
  EXPECT_TRUE(SaysMore(newer, known));
  EXPECT_FALSE(SaysMore(known, newer));
  newer.rank = 2;
  EXPECT_FALSE(SaysMore(newer, known));
}

TEST(Cause, SaysMemoryInTheUnitOfTheLimit) {
  EXPECT_EQ(MemoryText({.used_bytes = 61ULL << 30, .limit_bytes = 64ULL << 30}),
            "used 61 of 64 GiB");
  EXPECT_EQ(MemoryText({.used_bytes = 102'400'000, .limit_bytes = 100ULL << 20}),
            "used 97.7 of 100 MiB");
  EXPECT_EQ(MemoryText({.used_bytes = 5}), "");
}

}  // namespace
}  // namespace muster
