#include "runtime/client/reporter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "runtime/client/muster_client.h"

namespace {

class Reporter : public ::testing::Test {
 protected:
  Reporter() { muster_reporter_begin(&reporter_, 0); }
  // Sends when it may.
  bool Step(std::uint64_t step, std::uint64_t now_us) {
    muster_reporter_progress(&reporter_, step, 1.0, 0, 0);
    if (muster_reporter_due(&reporter_, now_us) == 0) return false;
    sent_ = muster_reporter_take(&reporter_, now_us);
    muster_reporter_sent(&reporter_);
    return true;
  }
  muster_reporter reporter_;
  muster_report sent_{};
};

TEST_F(Reporter, SendsEveryStepOfALoopOfAThousandASecond) {
  for (std::uint64_t step = 1; step <= 5000; ++step) ASSERT_TRUE(Step(step, 1000 * step));
}

TEST_F(Reporter, HoldsBackWhatComesTooFastAndKeepsTheNewest) {
  int sent = 0;
  for (std::uint64_t step = 1; step <= 100000; ++step) sent += Step(step, 10 * step) ? 1 : 0;
  EXPECT_NEAR(sent, 256 + 1000, 2);  // The burst, then a second's worth.
  EXPECT_EQ(reporter_.pending, sent_.step == 100000 ? 0 : 1);
  EXPECT_EQ(reporter_.latest.step, 100000U);
}

TEST_F(Reporter, SaysNothingTwice) {
  EXPECT_TRUE(Step(1, 1000));
  EXPECT_EQ(muster_reporter_due(&reporter_, 900000), 0);
}

TEST_F(Reporter, KeepsTheLastLossAndTokensThatWereGiven) {
  EXPECT_EQ(reporter_.latest.loss, MUSTER_NO_LOSS);
  muster_reporter_progress(&reporter_, 1, 2.5, 100, 0);
  muster_reporter_progress(&reporter_, 2, MUSTER_NO_LOSS, 0, 0);
  const muster_report report = muster_reporter_take(&reporter_, 5);
  EXPECT_EQ(report.step, 2U);
  EXPECT_EQ(report.loss, 2.5);
  EXPECT_EQ(report.tokens, 100U);
  muster_reporter_progress(&reporter_, 3, NAN, 0, 0);  // A loss that went wrong is told.
  EXPECT_TRUE(std::isnan(reporter_.latest.loss));
}

TEST_F(Reporter, TrainsOnceItMakesStepsAndStaysInAPhaseThatItNamed) {
  EXPECT_EQ(reporter_.latest.phase, MUSTER_PHASE_STARTING);
  muster_reporter_progress(&reporter_, 1, 1.0, 0, 0);
  EXPECT_EQ(reporter_.latest.phase, MUSTER_PHASE_TRAINING);
  muster_reporter_phase(&reporter_, MUSTER_PHASE_DATA, 10);
  muster_reporter_progress(&reporter_, 2, 1.0, 0, 0);
  EXPECT_EQ(reporter_.latest.phase, MUSTER_PHASE_DATA);
}

TEST_F(Reporter, CountsTheTimeInCommSinceTheLastPacket) {
  muster_reporter_phase(&reporter_, MUSTER_PHASE_COMM, 1000);
  muster_reporter_phase(&reporter_, MUSTER_PHASE_OPTIMIZER, 4000);
  muster_reporter_phase(&reporter_, MUSTER_PHASE_COMM, 5000);
  EXPECT_EQ(muster_reporter_take(&reporter_, 5500).comm_us, 3500U);
  muster_reporter_sent(&reporter_);
  EXPECT_EQ(muster_reporter_take(&reporter_, 5600).comm_us, 100U);
}

TEST_F(Reporter, CountsTheTimeInEachPhaseSinceTheLastPacket) {
  const auto spent = [&](std::uint64_t now_us, int phase) {
    return muster_reporter_take(&reporter_, now_us).phase_us[phase];
  };
  muster_reporter_progress(&reporter_, 1, 1.0, 0, 700);
  EXPECT_EQ(spent(1000, MUSTER_PHASE_STARTING), 700U);
  EXPECT_EQ(spent(1000, MUSTER_PHASE_TRAINING), 300U);
  muster_reporter_phase(&reporter_, MUSTER_PHASE_EVALUATION, 1500);
  EXPECT_EQ(spent(1600, MUSTER_PHASE_EVALUATION), 100U);
  EXPECT_EQ(spent(1600, MUSTER_PHASE_TRAINING), 800U);  // What could not be sent is kept.
  muster_reporter_sent(&reporter_);
  EXPECT_EQ(spent(1650, MUSTER_PHASE_EVALUATION), 50U);
  EXPECT_EQ(spent(1650, MUSTER_PHASE_TRAINING), 0U);
}

TEST_F(Reporter, KeepsWhatCouldNotBeSent) {
  muster_reporter_progress(&reporter_, 1, 1.0, 0, 0);
  EXPECT_NE(muster_reporter_due(&reporter_, 10), 0);
  muster_reporter_take(&reporter_, 10);  // The socket was full.
  EXPECT_NE(muster_reporter_due(&reporter_, 20), 0);
}

}  // namespace
