#include "launcher/jobd/head_loads.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

using std::chrono::seconds;
using Hosts = std::map<std::uint32_t, std::uint64_t>;

class HeadLoadsTest : public testing::Test {
 protected:
  HeadLoadsTest() {
    loads_.Begin({{.node = "n0", .first_rank = 0, .slots = {0, 1}},
                  {.node = "n1", .first_rank = 2, .slots = {0}}});
  }

  HeadLoads loads_;
  TimePoint now_{seconds(100)};
};

TEST_F(HeadLoadsTest, ARoundEndsWhenAllHaveCome) {
  EXPECT_FALSE(loads_.End(now_));
  loads_.Came(1, 5, now_ + seconds(9));
  EXPECT_FALSE(loads_.End(now_));
  loads_.Came(0, 8, now_ + seconds(9));
  EXPECT_EQ(loads_.End(now_), (HeadLoads::Round{.hosts = Hosts{{0, 8}, {1, 5}}}));
  EXPECT_FALSE(loads_.End(now_ + seconds(60)));
}

TEST_F(HeadLoadsTest, WhoDoesNotComeInTheTimeOfTheMostImpatientIsNamed) {
  loads_.Came(0, 1, now_ + seconds(9));
  loads_.Came(0, 2, now_ + seconds(2));  // It gave up, and came again.
  EXPECT_FALSE(loads_.End(now_ + seconds(1)));
  EXPECT_EQ(
      loads_.End(now_ + seconds(2)),
      (HeadLoads::Round{.hosts = Hosts{{0, 2}},
                        .error = "rank 2 (node n1) did not load in time; all ranks load alike"}));
  loads_.Came(1, 1, now_ + seconds(20));
  EXPECT_EQ(loads_.End(now_ + seconds(20))->error,
            "ranks 0 to 1 (node n0) did not load in time; all ranks load alike");
}

TEST_F(HeadLoadsTest, AnOddLoadCostsOnlyItself) {
  loads_.Came(0, 1, now_ + seconds(1));
  EXPECT_NE(loads_.End(now_ + seconds(1))->error, "");
  loads_.Came(0, 2, now_ + seconds(9));
  loads_.Came(1, 1, now_ + seconds(9));
  EXPECT_EQ(loads_.End(now_ + seconds(2)), (HeadLoads::Round{.hosts = Hosts{{0, 2}, {1, 1}}}));
}

TEST_F(HeadLoadsTest, NobodyWaitsForRanksThatHaveEnded) {
  loads_.Came(0, 1, now_ + seconds(9));
  loads_.NoMore(1);
  EXPECT_EQ(loads_.End(now_)->error,
            "rank 2 (node n1) did not load and ended; all ranks load alike");
}

}  // namespace
}  // namespace muster
