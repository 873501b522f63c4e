#include "launcher/jobd/progress_file_posix.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include "runtime/base/file_posix.h"

namespace muster {
namespace {

class ProgressFileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = "/tmp/muster-test-" + std::to_string(getpid()) + "-XXXXXX";
    folder_ = mkdtemp(pattern.data());
  }
  void TearDown() override { EXPECT_TRUE(RemoveTree(folder_).ok()); }
  std::vector<ProgressPoint> Points() const {
    const auto text = ReadFile(folder_ + "/progress");
    return text.ok() ? ReadProgressLines(*text) : std::vector<ProgressPoint>();
  }
  std::string folder_;
  ProgressFile file_;
};

TEST_F(ProgressFileTest, KeepsThePointsAndTheLastOne) {
  file_.Begin(folder_ + "/progress");
  for (std::uint64_t step = 1; step <= 1001; ++step) file_.Add({.step = step, .loss = 1.0});
  const std::size_t before = Points().size();
  EXPECT_LT(before, 700U);
  file_.End();
  EXPECT_EQ(Points().size(), before + 1);
  EXPECT_EQ(Points().front().step, 1U);
  EXPECT_EQ(Points().back().step, 1001U);
}

TEST_F(ProgressFileTest, AnAttemptWithoutStepsHasNoFile) {
  file_.Begin(folder_ + "/progress");
  file_.Add({.step = 0, .loss = 0});
  file_.End();
  EXPECT_FALSE(ReadFile(folder_ + "/progress").ok());
}

TEST_F(ProgressFileTest, ADiskThatIsFullCostsTheCurveOnly) {
  file_.Begin("/dev/full");
  for (std::uint64_t step = 1; step <= 10; ++step) file_.Add({.step = step});
  file_.End();
  file_.Begin(folder_ + "/not/there");
  file_.Add({.step = 1});
  file_.Begin(folder_ + "/progress");  // The next attempt.
  file_.Add({.step = 1});
  EXPECT_EQ(Points().size(), 1U);
}

}  // namespace
}  // namespace muster
