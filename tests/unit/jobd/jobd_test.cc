#include "launcher/jobd/jobd.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

using std::chrono::milliseconds;

template <typename T>
const T* Find(const std::vector<JobdEffect>& effects) {
  for (const JobdEffect& effect : effects) {
    if (const T* found = std::get_if<T>(&effect)) return found;
  }
  return nullptr;
}

template <typename M>
const M* Said(const std::vector<JobdEffect>& effects) {
  for (const JobdEffect& effect : effects) {
    const auto* send = std::get_if<SendPeer>(&effect);
    if (send == nullptr) continue;
    if (const M* found = std::get_if<M>(&send->message)) return found;
  }
  return nullptr;
}

class Jobd {
 public:
  Jobd() { state.status = {.job = 1, .instance = 5, .port = 77}; }

  std::vector<JobdEffect> Do(const JobdEvent& event) { return Step(state, event, now); }
  std::vector<JobdEffect> Start(AttemptNumber attempt, std::uint32_t hosts, std::uint32_t index) {
    StartAttempt order{.job = 1, .attempt = attempt, .host_index = index};
    for (std::uint32_t i = 0; i < hosts; ++i) {
      order.hosts.push_back(
          {.node = "n" + std::to_string(i), .first_rank = 2 * i, .slots = {0, 1}});
    }
    return Do(OrderCame{order});
  }

  // Calls it whenever it wants to be called, until `until`, and says what came of it.
  std::vector<JobdEffect> RunUntil(TimePoint until) {
    std::vector<JobdEffect> effects;
    while (NextDeadline(state) <= until) {
      now = std::max(now, NextDeadline(state));
      for (const JobdEffect& effect : Do(TimePassed{})) effects.push_back(effect);
    }
    now = until;
    return effects;
  }
  std::int64_t stamp() const { return now.time_since_epoch().count(); }

  JobdState state;
  TimePoint now{milliseconds(10000)};
};

// A follower of two or more hosts, whose ranks run.
void StartFollower(Jobd& follower, std::uint32_t hosts) {
  follower.Start(0, hosts, 1);
  follower.Do(OrderCame{MeetHead{1, 0, 99}});
  follower.Do(HeadConnected{});
  follower.Do(LocalPrepared{});
  follower.Do(PeerSaid{0, peer::Beat{0, 50, 0, 0}});
  ASSERT_NE(Find<ForkRanks>(follower.Do(PeerSaid{0, peer::Go{0, 60, follower.stamp(), 0}})),
            nullptr);
}

TEST(Jobd, RunsAJobOfOneNodeToItsEnd) {
  Jobd jobd;
  EXPECT_NE(Find<PrepareRanks>(jobd.Start(0, 1, 0)), nullptr);
  EXPECT_NE(Find<ForkRanks>(jobd.Do(LocalPrepared{})), nullptr);
  EXPECT_EQ(jobd.state.status.ranks_alive, 2U);
  jobd.Do(RankExited{0});
  EXPECT_NE(Find<CleanUp>(jobd.Do(RankExited{1})), nullptr);
  EXPECT_EQ(jobd.state.status.phase, MemberPhase::kLeft);
  EXPECT_EQ(jobd.state.status.cause.kind, CauseKind::kNone);
}

TEST(Jobd, ForksOnlyWhenEveryHostIsReady) {
  Jobd head;
  head.Start(0, 2, 0);
  EXPECT_EQ(Find<ForkRanks>(head.Do(LocalPrepared{})), nullptr);
  EXPECT_NE(Said<peer::Beat>(head.Do(FollowerConnected{1, 0})), nullptr);
  const auto effects = head.Do(PeerSaid{1, peer::Ready{0, 1, head.now.time_since_epoch().count()}});
  EXPECT_NE(Said<peer::Go>(effects), nullptr);
  EXPECT_NE(Find<ForkRanks>(effects), nullptr);
}

TEST(Jobd, KillsItsRanksWhenItsProofIsOlderThanTheFence) {
  Jobd follower;
  follower.Start(0, 2, 1);
  EXPECT_NE(Find<ConnectToHead>(follower.Do(OrderCame{MeetHead{1, 0, 99}})), nullptr);
  follower.Do(HeadConnected{});
  follower.Do(LocalPrepared{});
  EXPECT_NE(Said<peer::Ready>(follower.Do(PeerSaid{0, peer::Beat{0, 50, 0, 0}})), nullptr);
  const std::int64_t now = follower.now.time_since_epoch().count();
  EXPECT_NE(Find<ForkRanks>(follower.Do(PeerSaid{0, peer::Go{0, 60, now, 0}})), nullptr);
  const TimePoint fence = follower.now + milliseconds(2500);
  EXPECT_TRUE(follower.RunUntil(fence - milliseconds(1)).empty());
  EXPECT_NE(Find<KillRanks>(follower.RunUntil(fence)), nullptr);
  EXPECT_TRUE(follower.Do(PeerSaid{0, peer::Beat{0, 70, now, 0}}).empty());
}

// A follower's proof ends before the head's own does: it must not blame the head, which lives.
TEST(Jobd, AFollowerNamesTheMemberThatIsSilent) {
  for (const bool head_lives : {true, false}) {
    Jobd follower;
    StartFollower(follower, 3);
    const std::int64_t began = follower.stamp();
    const TimePoint fence = follower.now + milliseconds(2500);
    for (int beat = 1; head_lives && beat < 10; ++beat) {
      follower.now += milliseconds(250);
      const std::int64_t now = follower.stamp();
      follower.Do(PeerSaid{0, peer::Beat{0, 60 + beat, now, now - began, 2}});
    }
    EXPECT_EQ(Find<KillRanks>(follower.RunUntil(fence - milliseconds(1))), nullptr);
    EXPECT_NE(Find<KillRanks>(follower.RunUntil(fence)), nullptr);
    EXPECT_EQ(follower.state.status.cause.node, head_lives ? "n2" : "n0");
  }
}

// Machines that are paused, or starve their daemons: all wake at once, and their timers come first.
TEST(Jobd, AFollowerThatWasNotRunItselfHearsTheOthersOutFirst) {
  Jobd follower;
  StartFollower(follower, 2);
  follower.RunUntil(follower.now + milliseconds(200));
  follower.now += std::chrono::seconds(70);
  EXPECT_TRUE(follower.Do(TimePassed{}).empty());
  EXPECT_TRUE(follower.RunUntil(follower.now + milliseconds(300)).empty());
  const std::int64_t now = follower.stamp();
  follower.Do(PeerSaid{0, peer::Beat{0, 70, now - 1000000, 0}});
  EXPECT_TRUE(follower.RunUntil(follower.now + milliseconds(2000)).empty());
  EXPECT_EQ(follower.state.status.phase, MemberPhase::kRunning);
}

TEST(Jobd, AHeadThatWasNotRunItselfHearsTheOthersOutFirst) {
  Jobd head;
  head.Start(0, 2, 0);
  head.Do(LocalPrepared{});
  head.Do(FollowerConnected{1, 0});
  head.Do(PeerSaid{1, peer::Ready{0, 1, head.stamp()}});
  head.now += std::chrono::seconds(70);
  const auto effects = head.Do(TimePassed{});
  EXPECT_EQ(Find<KillRanks>(effects), nullptr);
  EXPECT_NE(Said<peer::Beat>(effects), nullptr);
  head.RunUntil(head.now + milliseconds(300));
  head.Do(PeerSaid{1, peer::BeatBack{0, 2, head.stamp() - 1000000}});
  head.RunUntil(head.now + milliseconds(2000));
  EXPECT_EQ(head.state.status.phase, MemberPhase::kRunning);
}

// The margin that the coordinator waits beyond the fence time covers it, however often it stalls.
TEST(Jobd, AProofIsForgivenOnce) {
  Jobd follower;
  StartFollower(follower, 2);
  follower.now += std::chrono::seconds(3);
  EXPECT_TRUE(follower.Do(TimePassed{}).empty());
  const TimePoint woke = follower.now;
  follower.now += milliseconds(499);
  EXPECT_TRUE(follower.Do(TimePassed{}).empty());
  follower.now = woke + milliseconds(1100);  // Not run again.
  EXPECT_NE(Find<KillRanks>(follower.Do(TimePassed{})), nullptr);
}

TEST(Jobd, ADaemonThatRanIsForgivenNothing) {
  Jobd follower;
  StartFollower(follower, 2);
  const TimePoint fence = follower.now + milliseconds(2500);
  follower.now += milliseconds(700);  // A short one, long before the fence.
  EXPECT_TRUE(follower.Do(TimePassed{}).empty());
  EXPECT_TRUE(follower.RunUntil(fence - milliseconds(1)).empty());
  EXPECT_NE(Find<KillRanks>(follower.RunUntil(fence)), nullptr);
}

// The proofs that it may go are too old by then: it waits for newer ones.
TEST(Jobd, AHeadThatStalledBeforeTheStartStillStarts) {
  Jobd head;
  head.Start(0, 3, 0);
  head.Do(LocalPrepared{});
  for (const std::uint32_t host : {1U, 2U}) head.Do(FollowerConnected{host, 0});
  head.Do(PeerSaid{1, peer::Ready{0, 1, head.stamp()}});
  head.RunUntil(head.now + milliseconds(100));
  head.now += std::chrono::seconds(10);
  head.Do(TimePassed{});
  head.now += milliseconds(600);  // Forgiven no longer.
  head.Do(PeerSaid{2, peer::Ready{0, 1, head.stamp()}});
  const auto effects = head.Do(PeerSaid{1, peer::BeatBack{0, 2, head.stamp()}});
  EXPECT_NE(Find<ForkRanks>(effects), nullptr);
}

TEST(Jobd, TheHeadTellsWhichFollowerVouchedLongestAgo) {
  Jobd head;
  head.Start(0, 4, 0);
  for (std::uint32_t host = 1; host < 4; ++host) head.Do(FollowerConnected{host, 0});
  const std::int64_t began = head.now.time_since_epoch().count();
  head.now += milliseconds(250);
  for (const std::uint32_t host : {1U, 3U})
    head.Do(PeerSaid{host, peer::BeatBack{0, 1, began + 9}});
  for (const JobdEffect& effect : head.Do(TimePassed{})) {
    const auto* send = std::get_if<SendPeer>(&effect);
    if (send == nullptr) continue;
    const auto& beat = std::get<peer::Beat>(send->message);
    EXPECT_EQ(beat.silent, send->host_index == 2 ? 1U : 2U);
  }
}

// Its word that it left stands for all: it says so too when only another host's ranks were asked.
TEST(Jobd, TheHeadPassesOnThatRanksWereAskedToStop) {
  Jobd head;
  head.Start(0, 3, 0);
  head.Do(LocalPrepared{});
  for (const std::uint32_t host : {1U, 2U}) head.Do(FollowerConnected{host, 0});
  for (const std::uint32_t host : {1U, 2U})
    head.Do(PeerSaid{host, peer::Ready{0, 1, head.stamp()}});
  for (const std::uint32_t rank : {0U, 1U}) head.Do(RankExited{rank, {}});
  head.Do(OrderCame{StopAttempt{.job = 1, .attempt = 0, .grace_ms = 1000}});
  head.Do(PeerSaid{1, peer::Finished{.attempt = 0, .asked_to_stop = true}});
  EXPECT_EQ(head.state.status.phase, MemberPhase::kFinished);
  const auto effects = head.Do(PeerSaid{2, peer::Finished{.attempt = 0}});
  ASSERT_NE(Said<peer::Over>(effects), nullptr);
  EXPECT_TRUE(Said<peer::Over>(effects)->asked_to_stop);
  EXPECT_EQ(head.state.status.phase, MemberPhase::kLeft);
  EXPECT_TRUE(head.state.status.asked_to_stop);
}

TEST(Jobd, AFollowerThatWasAskedToStopSaysSoAndHearsItOfOthers) {
  Jobd asked;
  StartFollower(asked, 2);
  asked.Do(OrderCame{StopAttempt{.job = 1, .attempt = 0, .grace_ms = 1000}});
  asked.Do(RankExited{0, {}});
  const auto effects = asked.Do(RankExited{1, {}});
  ASSERT_NE(Said<peer::Finished>(effects), nullptr);
  EXPECT_TRUE(Said<peer::Finished>(effects)->asked_to_stop);

  Jobd done;
  StartFollower(done, 2);
  done.Do(RankExited{0, {}});
  const auto word = done.Do(RankExited{1, {}});
  ASSERT_NE(Said<peer::Finished>(word), nullptr);
  EXPECT_FALSE(Said<peer::Finished>(word)->asked_to_stop);
  done.Do(PeerSaid{0, peer::Over{.attempt = 0, .asked_to_stop = true}});
  EXPECT_EQ(done.state.status.phase, MemberPhase::kLeft);
  EXPECT_TRUE(done.state.status.asked_to_stop);
}

TEST(Jobd, TheFirstFailureIsTheCauseAndEndsTheAttemptEverywhere) {
  Jobd head;
  head.Start(0, 2, 0);
  head.Do(LocalPrepared{});
  head.Do(FollowerConnected{1, 0});
  head.Do(PeerSaid{1, peer::Ready{0, 1, head.now.time_since_epoch().count()}});
  const auto effects = head.Do(RankExited{1, {.kind = CauseKind::kSignal, .code = 9}});
  ASSERT_NE(Said<peer::Over>(effects), nullptr);
  EXPECT_EQ(Said<peer::Over>(effects)->cause.rank, 1);
  EXPECT_NE(Find<KillRanks>(effects), nullptr);
  EXPECT_EQ(head.state.status.phase, MemberPhase::kStopping);
  head.Do(RankExited{0, {.kind = CauseKind::kSignal, .code = 9}});
  EXPECT_EQ(head.state.status.phase, MemberPhase::kLeft);
}

// ---- the first cause ----------------------------------------------------------------------------

Cause Exit(std::int32_t code, bool consequence = false) {
  return {.kind = CauseKind::kExit, .code = code, .consequence = consequence};
}

Jobd RunningHead(std::uint32_t hosts) {
  Jobd head;
  head.Start(0, hosts, 0);
  head.Do(LocalPrepared{});
  for (std::uint32_t i = 1; i < hosts; ++i) {
    head.Do(FollowerConnected{i, 0});
    head.Do(PeerSaid{i, peer::Ready{0, 1, head.now.time_since_epoch().count()}});
  }
  EXPECT_EQ(head.state.status.phase, MemberPhase::kRunning);
  return head;
}

TEST(FirstCause, ARankThatBlamesAPeerWaitsForThePeersOwnEnd) {
  Jobd jobd = RunningHead(1);
  EXPECT_EQ(Find<KillRanks>(jobd.Do(RankExited{0, Exit(1, true)})), nullptr);
  EXPECT_EQ(NextDeadline(jobd.state), jobd.now + kSuspectFor);
  jobd.Do(RankExited{1, Exit(7)});
  EXPECT_EQ(jobd.state.status.cause.rank, 1);
  EXPECT_EQ(jobd.state.status.cause.code, 7);
  EXPECT_EQ(jobd.state.status.cause.slot, 1U);
}

TEST(FirstCause, ARankThatBlamesAPeerIsNamedWhenNobodyElseFails) {
  Jobd jobd = RunningHead(1);
  jobd.Do(RankExited{0, Exit(1, true)});
  jobd.now += kSuspectFor;
  EXPECT_NE(Find<KillRanks>(jobd.Do(TimePassed{})), nullptr);
  EXPECT_EQ(jobd.state.status.cause.rank, 0);
}

TEST(FirstCause, NobodyIsLeftToWaitFor) {
  Jobd jobd = RunningHead(1);
  jobd.Do(RankExited{0, Exit(1, true)});
  jobd.Do(RankExited{1});
  EXPECT_EQ(jobd.state.status.phase, MemberPhase::kLeft);
  EXPECT_EQ(jobd.state.status.cause.rank, 0);
}

TEST(FirstCause, ARankOfAnotherHostExplainsTheOneThatBlamesAPeer) {
  Jobd head = RunningHead(2);
  head.Do(RankExited{0, Exit(1, true)});
  head.Do(RankExited{1, Exit(1, true)});
  EXPECT_EQ(head.state.status.phase, MemberPhase::kRunning);  // The follower may know more.
  Cause theirs = Exit(3);
  theirs.rank = 2;
  head.Do(PeerSaid{1, peer::Failed{0, theirs}});
  EXPECT_EQ(head.state.status.phase, MemberPhase::kLeft);
  EXPECT_EQ(head.state.status.cause.rank, 2);
}

TEST(FirstCause, WhatEndedByItselfBeforeTheKillMayExplainMore) {
  Jobd jobd = RunningHead(1);
  EXPECT_NE(Find<KillRanks>(jobd.Do(RankExited{0, Exit(1)})), nullptr);
  EXPECT_NE(Find<TellAgent>(jobd.Do(RankExited{1, {.kind = CauseKind::kSignal, .code = 11}})),
            nullptr);
  EXPECT_EQ(jobd.state.status.cause.code, 11);
  EXPECT_EQ(jobd.state.status.cause.rank, 1);
}

TEST(FirstCause, WhatOurKillCutShortExplainsNothing) {
  Jobd jobd = RunningHead(1);
  jobd.Do(RankExited{0, Exit(1)});
  jobd.Do(RankExited{1, {.kind = CauseKind::kSignal, .code = 9}, /*by_us=*/true});
  EXPECT_EQ(jobd.state.status.cause.rank, 0);
}

TEST(FirstCause, AnExitCodeDoesNotExplainALostPeer) {
  Jobd head = RunningHead(2);
  head.Do(PeerGone{1, 0});
  EXPECT_EQ(head.state.status.cause.kind, CauseKind::kPeerLost);
  head.Do(RankExited{0, Exit(1)});
  EXPECT_EQ(head.state.status.cause.kind, CauseKind::kPeerLost);
  head.Do(RankExited{1, {.kind = CauseKind::kSignal, .code = 11}});
  EXPECT_EQ(head.state.status.cause.code, 11);
}

TEST(FirstCause, AStopWithGraceEndsTheDoubt) {
  Jobd jobd = RunningHead(1);
  jobd.Do(RankExited{0, Exit(1, true)});
  EXPECT_NE(Find<AskRanks>(jobd.Do(OrderCame{StopAttempt{1, 0, 5000}})), nullptr);
  EXPECT_EQ(NextDeadline(jobd.state), jobd.now + milliseconds(5000));
  jobd.Do(RankExited{1, Exit(15)});
  EXPECT_EQ(jobd.state.status.cause.kind, CauseKind::kNone);
}

TEST(FirstCause, AStopWithNobodyLeftEndsTheAttemptAtOnce) {
  Jobd head = RunningHead(2);
  head.Do(RankExited{0, Exit(1, true)});
  head.Do(RankExited{1, Exit(1, true)});
  head.Do(OrderCame{StopAttempt{1, 0, 30000}});
  EXPECT_EQ(head.state.status.phase, MemberPhase::kLeft);
}

}  // namespace
}  // namespace muster
