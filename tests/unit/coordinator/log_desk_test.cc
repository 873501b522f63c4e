// Whom the desk asks for which logs, and in which order.
#include "launcher/coordinator/log_desk.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

struct FakeReader final : LogReader {
  std::vector<LogOffset> Offsets() const override { return {}; }
  void Expect(std::uint64_t, const NodeName&) override {}
  void End(const Status& status) override { ended = status; }
  std::optional<Status> ended;
};

constexpr JobId kJob = 7;

class LogDeskTest : public ::testing::Test {
 protected:
  LogDeskTest() {
    for (const char* name : {"n0", "n1", "n2"}) {
      state_.nodes[name] = {.name = name, .slots = 2, .incarnation = 1, .lost = false};
    }
    state_.jobs[kJob] = {.id = kJob, .phase = JobPhase::kRunning};
    Attempt(0, {"n0", "n1"});
  }

  void Attempt(AttemptNumber number, const std::vector<NodeName>& nodes) {
    muster::Attempt attempt{.number = number};
    for (const NodeName& node : nodes) {
      const auto first = static_cast<std::uint32_t>(2 * attempt.members.size());
      attempt.members.push_back({.host = {.node = node, .first_rank = first, .slots = {0, 1}}});
    }
    state_.jobs[kJob].attempt = attempt;
  }
  void End() { state_.jobs[kJob].phase = JobPhase::kEnded; }

  // "n1:0-2" for a node that is asked for attempts 0 to 2; "+" when it is to follow.
  std::vector<std::string> Take(const std::vector<LogAction>& actions) {
    std::vector<std::string> asked;
    for (const LogAction& action : actions) {
      const auto* ask = std::get_if<AskNode>(&action);
      if (ask == nullptr) continue;
      wants_[ask->node] = ask->want;
      asked.push_back(ask->node + ":" + std::to_string(ask->want.first_attempt) + "-" +
                      std::to_string(ask->want.last_attempt) + (ask->want.follow ? "+" : ""));
    }
    return asked;
  }
  std::vector<std::string> Open(LogsAsked asked) {
    asked.job = kJob;
    return Take(desk_.Open(state_, 1, asked, reader_));
  }
  std::vector<std::string> Changed() { return Take(desk_.Changed(state_)); }
  std::vector<std::string> Sent(const NodeName& node) {
    return Take(desk_.Pushed(state_, wants_.at(node).id, true));
  }

  using Asked = std::vector<std::string>;
  State state_;
  LogDesk desk_;
  std::shared_ptr<FakeReader> reader_ = std::make_shared<FakeReader>();
  std::map<NodeName, LogWant> wants_;
};

TEST_F(LogDeskTest, AsksForAnAttemptWhenTheOnesBeforeWereSent) {
  Attempt(2, {"n1", "n2"});
  EXPECT_EQ(Open({.all_attempts = true, .follow = true}), (Asked{"n0:0-1", "n1:0-1", "n2:0-1"}));
  EXPECT_EQ(Sent("n0"), Asked{});
  EXPECT_EQ(Sent("n2"), Asked{});
  EXPECT_EQ(Sent("n1"), (Asked{"n1:2-2+", "n2:2-2+"}));
  // It restarts twice before all of that is sent.
  Attempt(4, {"n0", "n1"});
  EXPECT_EQ(Changed(), Asked{});
  EXPECT_EQ(Sent("n1"), Asked{});
  EXPECT_EQ(Sent("n2"), (Asked{"n0:3-3", "n1:3-3", "n2:3-3"}));
  Sent("n0");
  Sent("n1");
  EXPECT_EQ(Sent("n2"), (Asked{"n0:4-4+", "n1:4-4+"}));
  End();
  Changed();
  Sent("n0");
  EXPECT_FALSE(reader_->ended);
  Sent("n1");
  ASSERT_TRUE(reader_->ended);
  EXPECT_TRUE(reader_->ended->ok());
}

TEST_F(LogDeskTest, EndsWithTheNewestAttemptUnlessItIsToFollow) {
  Attempt(1, {"n0"});
  EXPECT_EQ(Open({.all_attempts = true}), (Asked{"n0:0-0", "n1:0-0", "n2:0-0"}));
  Sent("n0");
  Sent("n1");
  EXPECT_EQ(Sent("n2"), Asked{"n0:1-1"});
  Attempt(2, {"n1"});
  EXPECT_EQ(Changed(), Asked{});
  EXPECT_EQ(Sent("n0"), Asked{});
  EXPECT_TRUE(reader_->ended && reader_->ended->ok());
}

TEST_F(LogDeskTest, AsksForTheNewestAttemptAlone) {
  Attempt(3, {"n2"});
  EXPECT_EQ(Open({}), Asked{"n2:3-3"});
  Sent("n2");
  EXPECT_TRUE(reader_->ended && reader_->ended->ok());
}

TEST_F(LogDeskTest, AsksTheNodesThatAreWantedOnly) {
  Attempt(1, {"n0", "n1"});
  LogSelection errors_only{.no_stdout = true, .tail_lines = 3};
  EXPECT_EQ(Open({.all_attempts = true, .nodes = {"n1", "n2"}, .selection = errors_only}),
            (Asked{"n1:0-0", "n2:0-0"}));
  EXPECT_EQ(wants_.at("n1").selection, errors_only);
  Sent("n2");
  EXPECT_EQ(Sent("n1"), Asked{"n1:1-1"});
}

TEST_F(LogDeskTest, SaysThatThereIsNoSuchNode) {
  EXPECT_EQ(Open({.nodes = {"n1", "n9"}}), Asked{});
  ASSERT_TRUE(reader_->ended);
  EXPECT_EQ(reader_->ended->code(), Code::kNotFound);
  EXPECT_NE(reader_->ended->message().find("n9"), std::string::npos);
}

TEST_F(LogDeskTest, GoesOnWhenANodeWithOldAttemptsIsLost) {
  Attempt(1, {"n0"});
  Open({.all_attempts = true});
  Sent("n0");
  Sent("n2");
  state_.nodes["n1"].lost = true;
  EXPECT_EQ(Changed(), Asked{"n0:1-1"});
  Sent("n0");
  ASSERT_TRUE(reader_->ended);
  EXPECT_EQ(reader_->ended->code(), Code::kDataLoss);
}

TEST_F(LogDeskTest, EndsAtOnceWhenAllOfItIsOnALostNode) {
  Attempt(0, {"n1"});
  state_.nodes["n1"].lost = true;
  Open({});
  ASSERT_TRUE(reader_->ended);
  EXPECT_EQ(reader_->ended->code(), Code::kDataLoss);
}

}  // namespace
}  // namespace muster
