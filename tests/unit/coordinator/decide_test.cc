#include "launcher/coordinator/decide.h"

#include <gtest/gtest.h>

#include "launcher/coordinator/attempt.h"

namespace muster {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr JobId kJob = 1;

// A coordinator with two nodes of two slots, and one moment after the other.
class Decides : public testing::Test {
 protected:
  Decision Do(const Event& event) {
    State copy = state_;
    Decision decision = Decide(state_, event, now_, limits_);
    for (const Fact& fact : decision.facts) Apply(copy, fact);
    EXPECT_EQ(copy, state_);
    return decision;
  }
  Decision Register(const NodeName& node, const std::vector<JobdStatus>& jobds = {},
                    const std::string& boot = "boot1") {
    return Do(
        AgentRegistered{{.name = node, .slots = 2, .incarnation = 7, .boot_id = boot}, jobds});
  }
  Decision Submit(JobSpec spec) {
    if (spec.program.argv.empty()) spec.program.argv = {"true"};
    return Do(JobSubmitted{"key", "run", "secret", spec, {}});
  }
  Decision Report(const NodeName& node, JobdStatus status) {
    if (status.job == 0) status.job = kJob;
    status.instance = 1;
    return Do(JobdReported{node, 7, status});
  }
  void RunOnBoth(JobSpec spec = {}) {
    Register("n1");
    Register("n2");
    spec.nodes = 2;
    Submit(spec);
    Report("n1", {.phase = MemberPhase::kRunning, .port = 77});
    Report("n2", {.phase = MemberPhase::kRunning, .port = 78});
  }
  const Job& job() { return state_.jobs.at(kJob); }

  template <typename O>
  static std::vector<std::pair<NodeName, O>> Orders(const Decision& decision) {
    std::vector<std::pair<NodeName, O>> orders;
    for (const Effect& effect : decision.effects) {
      const auto& send = std::get<SendOrder>(effect);
      if (const auto* order = std::get_if<O>(&send.order)) orders.emplace_back(send.node, *order);
    }
    return orders;
  }

  State state_;
  Limits limits_;
  TimePoint now_{seconds(100)};
};

TEST_F(Decides, AJobRunsAndSucceeds) {
  Register("n1");
  const auto starts = Orders<StartAttempt>(Submit({.nodes = 1}));
  ASSERT_EQ(starts.size(), 1U);
  EXPECT_EQ(starts[0].second.hosts[0].slots.size(), 2U);
  Report("n1", {.phase = MemberPhase::kRunning, .port = 77});
  const auto ends = Orders<EndJob>(Report("n1", {.phase = MemberPhase::kLeft, .port = 77}));
  EXPECT_EQ(ends.size(), 1U);
  EXPECT_EQ(job().outcome, Outcome::kSucceeded);
  EXPECT_TRUE(state_.nodes["n1"].leftovers.contains(kJob));
  Report("n1", {.phase = MemberPhase::kGone});
  EXPECT_TRUE(state_.nodes["n1"].leftovers.empty());
}

TEST_F(Decides, JobsOnAShareHaveItsLimitTogetherAndOneThatEndsGivesItsPartBack) {
  limits_.shares = {{"/nfs", 1000}};
  Register("n1");
  Register("n2");
  const auto submit = [&](const std::string& key) {
    const JobSpec spec{
        .nodes = 1, .program = {.argv = {"true"}}, .checkpoint = {.store = "/nfs/" + key}};
    return Orders<StartAttempt>(Do(JobSubmitted{key, "run" + key, "secret", spec, {}}));
  };
  for (const char* key : {"a", "b"}) {
    const auto starts = submit(key);
    ASSERT_EQ(starts.size(), 1U);
    EXPECT_EQ(starts[0].second.checkpoint.bytes_per_s, 500U);
  }
  EXPECT_TRUE(submit("c").empty()) << "no slot, and no part of the share";
  Report("n1", {.phase = MemberPhase::kRunning, .port = 77});
  const auto next = Orders<StartAttempt>(Report("n1", {.phase = MemberPhase::kLeft}));
  ASSERT_EQ(next.size(), 1U);
  EXPECT_EQ(next[0].second.job, 3U);
  EXPECT_EQ(next[0].second.checkpoint.bytes_per_s, 500U);
}

TEST_F(Decides, AJobThatGoesOnWithARunWaitsUntilTheOneBeforeHasWrittenAll) {
  for (const char* node : {"n1", "n2", "n3"}) Register(node);
  const auto submit = [&](const std::string& key, const std::string& resume) {
    const JobSpec spec{.nodes = 1,
                       .program = {.argv = {"true"}},
                       .checkpoint = {.store = "/nfs", .resume = resume}};
    const Decision decision =
        Do(JobSubmitted{key, resume.empty() ? "run" : resume, "secret", spec, {}});
    return Orders<StartAttempt>(decision).size();
  };
  const auto why = [&](JobId id) { return Why(state_, id).at(0); };
  EXPECT_EQ(submit("a", ""), 1U);
  EXPECT_EQ(submit("b", "run"), 0U);
  EXPECT_EQ(submit("c", "run"), 0U);
  EXPECT_EQ(submit("d", "another"), 1U);
  EXPECT_EQ(why(2), "waits for the end of job 1, which has the same run, run");
  Report("n1", {.phase = MemberPhase::kRunning, .port = 77});
  Report("n1", {.phase = MemberPhase::kLeft, .port = 77});
  EXPECT_EQ(state_.jobs.at(1).phase, JobPhase::kEnded);
  EXPECT_EQ(why(2), "waits for what job 1 of the same run still writes on n1");
  const auto starts = Orders<StartAttempt>(Report("n1", {.phase = MemberPhase::kGone}));
  ASSERT_EQ(starts.size(), 1U);
  EXPECT_EQ(starts[0].second.job, 2U);
  EXPECT_EQ(starts[0].second.run_id, "run");
  EXPECT_EQ(why(3), "waits for the end of job 2, which has the same run, run");
}

TEST_F(Decides, AJobThatGoesOnWithARunDoesNotWaitForANodeThatIsLost) {
  Register("n1");
  Submit({.nodes = 1});
  Report("n1", {.phase = MemberPhase::kRunning, .port = 77});
  Report("n1", {.phase = MemberPhase::kLeft, .port = 77});
  Do(NodeSilent{"n1"});
  Register("n2");
  const JobSpec spec{
      .nodes = 1, .program = {.argv = {"true"}}, .checkpoint = {.store = "/", .resume = "run"}};
  const auto starts = Orders<StartAttempt>(Do(JobSubmitted{"b", "run", "secret", spec, {}}));
  ASSERT_EQ(starts.size(), 1U);
  EXPECT_EQ(starts[0].second.hosts[0].node, "n2");
}

TEST_F(Decides, ANodeThatTheClusterFileNamesNoMoreGetsNoWork) {
  Register("n1");
  Register("n2");
  Do(CoordinatorBegan{.cluster = "lab", .nodes = {{.name = "n1"}}});
  EXPECT_FALSE(state_.nodes["n1"].lost);
  EXPECT_TRUE(state_.nodes["n2"].lost);
  Do(CoordinatorBegan{.cluster = "lab"});  // Without a file every node may come.
  EXPECT_FALSE(state_.nodes["n1"].lost);
}

TEST_F(Decides, ACancelMayBringAGraceOfItsOwn) {
  RunOnBoth({.grace_ms = 60'000});
  const Cause asked{.kind = CauseKind::kCancelled};
  const auto stops = Orders<StopAttempt>(Do(JobCancelled{.job = kJob, .cause = asked}));
  ASSERT_EQ(stops.size(), 2U);
  EXPECT_EQ(stops[0].second.grace_ms, 60'000U);
  const auto sooner =
      Orders<StopAttempt>(Do(JobCancelled{.job = kJob, .cause = asked, .grace_ms = 100}));
  ASSERT_EQ(sooner.size(), 2U);
  EXPECT_EQ(sooner[0].second.grace_ms, 100U);
}

TEST_F(Decides, ASignalGoesToTheNodeOfItsRankOnly) {
  RunOnBoth();
  const auto all = Orders<SignalRanks>(Do(JobSignalled{.job = kJob, .signal = 10}));
  ASSERT_EQ(all.size(), 2U);
  EXPECT_EQ(all[0].second.rank, -1);
  const auto one = Orders<SignalRanks>(Do(JobSignalled{.job = kJob, .signal = 10, .rank = 3}));
  ASSERT_EQ(one.size(), 1U);
  EXPECT_EQ(one[0].first, "n2");
  EXPECT_EQ(one[0].second.rank, 3);
  EXPECT_EQ(Do(JobSignalled{.job = kJob, .signal = 10, .rank = 4}).status.message(),
            "job 1 has no rank 4; its ranks are 0 to 3");
}

TEST_F(Decides, ARankThatBlamesAPeerGivesWayToTheOneThatFailed) {
  RunOnBoth();
  Cause blames{.kind = CauseKind::kExit, .rank = 0, .node = "n1", .code = 1};
  blames.consequence = true;
  Report("n1", {.phase = MemberPhase::kStopping, .cause = blames});
  EXPECT_EQ(job().attempt->cause.rank, 0);
  Report("n2", {.phase = MemberPhase::kStopping,
                .cause = {.kind = CauseKind::kExit, .rank = 2, .node = "n2", .code = 5}});
  EXPECT_EQ(job().attempt->cause.rank, 2);
  Report("n1", {.phase = MemberPhase::kLeft,
                .cause = {.kind = CauseKind::kSignal, .rank = 1, .node = "n1", .code = 11}});
  EXPECT_EQ(job().attempt->cause.rank, 1);
  Report("n1", {.phase = MemberPhase::kLeft, .cause = blames});
  EXPECT_EQ(job().attempt->cause.rank, 1);
}

TEST_F(Decides, TheOthersMeetTheHeadOnceItListens) {
  Register("n1");
  Register("n2");
  Submit({.nodes = 2});
  const auto meets = Orders<MeetHead>(Report("n1", {.phase = MemberPhase::kStarting, .port = 77}));
  ASSERT_EQ(meets.size(), 1U);
  EXPECT_EQ(meets[0].first, "n2");
  EXPECT_EQ(meets[0].second.port, 77);
}

TEST_F(Decides, OnlyTheFirstAttemptTakesInput) {
  Register("n1");
  const JobSpec spec{.restart = {.max = 1}, .launch = {.stdin_rank0 = true, .pty = true}};
  const auto first = Orders<StartAttempt>(Submit(spec));
  ASSERT_EQ(first.size(), 1U);
  EXPECT_TRUE(first[0].second.launch.stdin_rank0 && first[0].second.launch.pty);
  const auto second = Orders<StartAttempt>(Report(
      "n1", {.phase = MemberPhase::kLeft, .cause = {.kind = CauseKind::kSignal, .code = 9}}));
  ASSERT_EQ(second.size(), 1U);
  EXPECT_EQ(second[0].second.attempt, 1U);
  EXPECT_FALSE(second[0].second.launch.stdin_rank0 || second[0].second.launch.pty);
}

TEST_F(Decides, TheNextAttemptWaitsUntilEveryMemberReported) {
  RunOnBoth({.restart = {.max = 1}});
  const Cause killed{.kind = CauseKind::kSignal, .rank = 1, .node = "n1", .code = 9};
  EXPECT_EQ(
      Orders<StopAttempt>(Report("n1", {.phase = MemberPhase::kLeft, .cause = killed})).size(), 1U);
  EXPECT_EQ(job().attempt->number, 0U);
  const auto starts =
      Orders<StartAttempt>(Report("n2", {.phase = MemberPhase::kLeft, .cause = killed}));
  EXPECT_EQ(starts.size(), 2U);
  EXPECT_EQ(job().attempt->number, 1U);
  EXPECT_EQ(job().restarts, 1U);
}

TEST_F(Decides, ARankKilledByAPeersClosedSocketIsNotTheCulprit) {
  RunOnBoth();
  const Cause pipe{.kind = CauseKind::kSignal, .rank = 0, .node = "n1", .code = 13};
  Report("n1", {.phase = MemberPhase::kStopping, .cause = pipe});
  EXPECT_EQ(job().attempt->cause.rank, 0);
  const Cause killed{.kind = CauseKind::kSignal, .rank = 3, .node = "n2", .code = 9};
  Report("n2", {.phase = MemberPhase::kStopping, .cause = killed});
  EXPECT_EQ(job().attempt->cause.rank, 3);
  Report("n1", {.phase = MemberPhase::kLeft, .cause = pipe});
  EXPECT_EQ(job().attempt->cause.rank, 3);
}

TEST_F(Decides, ALostNodeIsTakenForStoppedOnlyAfterTheFenceTime) {
  RunOnBoth();
  Do(NodeSilent{"n2"});
  EXPECT_FALSE(job().attempt->stopping);
  const Cause lost{.kind = CauseKind::kPeerLost, .node = "n2"};
  Report("n1", {.phase = MemberPhase::kLeft, .cause = lost});
  EXPECT_EQ(job().attempt->cause.kind, CauseKind::kNodeLost);
  const TimePoint deadline = NextDeadline(state_);
  EXPECT_EQ(deadline, now_ + milliseconds(3000));
  now_ = deadline - milliseconds(1);
  Do(Ticked{});
  EXPECT_EQ(job().phase, JobPhase::kRunning);
  now_ = deadline;
  Do(Ticked{});
  EXPECT_EQ(job().outcome, Outcome::kFailed);
  EXPECT_EQ(job().exit_code, 71);
}

// The members may have been paused with it, and begin to fence themselves only now.
TEST_F(Decides, ACoordinatorThatWasNotRunWaitsForTheFenceAnew) {
  RunOnBoth();
  Do(NodeSilent{"n2"});
  Report("n1",
         {.phase = MemberPhase::kLeft, .cause = {.kind = CauseKind::kPeerLost, .node = "n2"}});
  now_ += seconds(60);
  Do(Stalled{});
  EXPECT_EQ(job().phase, JobPhase::kRunning);
  EXPECT_EQ(NextDeadline(state_), now_ + milliseconds(3000));
  now_ += milliseconds(3000);
  Do(Ticked{});
  EXPECT_EQ(job().phase, JobPhase::kEnded);
}

TEST_F(Decides, WithAllNodesSilentTheJobWaitsAndSaysWhatReleasesIt) {
  RunOnBoth();
  Do(NodeSilent{"n1"});
  Do(NodeSilent{"n2"});
  Do(JobCancelled{kJob, {.kind = CauseKind::kCancelled}});
  EXPECT_EQ(NextDeadline(state_), TimePoint::max());
  const std::vector<std::string> why = Why(state_, kJob);
  ASSERT_EQ(why.size(), 3U);
  EXPECT_NE(why[1].find("muster drain --dead n1"), std::string::npos) << why[1];
  Do(NodeDrained{"n1", "burnt", true});
  Do(NodeDrained{"n2", "burnt", true});
  EXPECT_EQ(job().outcome, Outcome::kCancelled);
  EXPECT_EQ(job().exit_code, 143);
}

TEST_F(Decides, WhatATracebackEndsWithIsWhyARankFailed) {
  Cause cause{
      .kind = CauseKind::kExit,
      .rank = 0,
      .node = "n1",
      .code = 1,
      .text = "a warning\nTraceback (most recent call last):\n  File \"a.py\"\nKeyError: 7\n"};
  EXPECT_EQ(Describe(cause), "rank 0 on n1 left with exit code 1 (KeyError: 7)");
  cause.text = "cannot open a.txt\nbye\n";
  EXPECT_EQ(Describe(cause), "rank 0 on n1 left with exit code 1 (cannot open a.txt)");
}

TEST_F(Decides, ASecondSubmissionWithOneKeyIsTheSameJob) {
  Register("n1");
  EXPECT_EQ(Submit({.nodes = 1}).accepted, kJob);
  const Decision again = Submit({.nodes = 1});
  EXPECT_EQ(again.accepted, kJob);
  EXPECT_TRUE(again.facts.empty());
}

TEST_F(Decides, AJobThatCanNeverFitIsRefused) {
  Register("n1");
  const Decision decision = Submit({.nodes = 3});
  EXPECT_EQ(decision.status.code(), Code::kInvalid);
  EXPECT_NE(decision.status.message().find("needs 3 nodes"), std::string::npos);
}

}  // namespace
}  // namespace muster
