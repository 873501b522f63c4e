// What a coordinator promises to those who submit, watch and hold jobs, and to agents.
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <set>

#include "runtime/base/file_posix.h"
#include "tests/integration/grpc/cluster_fixture.h"

namespace muster::testing {
namespace {

using Coordinator = ClusterTest;

bool Runs(const JobView& job) {
  return job.phase == JobView::Phase::kRunning && job.running;
}
bool Ended(const JobView& job) {
  return job.phase == JobView::Phase::kEnded;
}

TEST_F(Coordinator, RunsAJobFromSubmissionToItsEnd) {
  StartCoordinator();
  FakeAgent n0(paths_, "n0", 2);
  FakeAgent n1(paths_, "n1", 2);
  ASSERT_TRUE(n0.Await([](FakeAgent& a) { return a.registrations == 1; }));
  ASSERT_TRUE(n1.Await([](FakeAgent& a) { return a.registrations == 1; }));
  const auto client = ClientOf(kAlice);
  JobRequest request = RequestOf(kAlice, "k1", 2);
  request.program.environment = {"A=1", std::string("B=\xff\x00z", 5)};
  const auto job = client->Submit(request);
  ASSERT_TRUE(job.ok()) << job.status().message();

  ASSERT_TRUE(n0.Await([](FakeAgent& a) { return !a.orders.empty(); }));
  const auto order = std::get<StartAttempt>(n0.orders.front());
  EXPECT_EQ(order.job, *job);
  EXPECT_EQ(order.hosts.size(), 2U);
  EXPECT_EQ(order.owner, kAlice);
  EXPECT_EQ(order.program, request.program);
  EXPECT_EQ(order.run_id.size(), 32U);
  EXPECT_EQ(order.job_key.size(), 32U);

  ASSERT_TRUE(AwaitJob(*client, *job, Runs));
  n0.Finish(*job);
  n1.Finish(*job);
  ASSERT_TRUE(AwaitJob(*client, *job, Ended));
  const auto ended = client->Get(*job);
  ASSERT_TRUE(ended.ok());
  EXPECT_EQ(ended->end, JobView::End::kSucceeded);
  EXPECT_EQ(ended->exit_code, 0);
  EXPECT_EQ(ended->members.size(), 2U);
  // Its traces are swept, too.
  EXPECT_TRUE(n0.Await([](FakeAgent& a) { return a.jobds.empty(); }));
  EXPECT_TRUE(client->List(false)->empty());
  EXPECT_EQ(client->List(true)->size(), 1U);
}

TEST_F(Coordinator, AnswersASecondSubmissionWithTheSameJobEvenAfterItWasKilled) {
  StartCoordinator();
  const auto client = ClientOf(kAlice);
  const auto first = client->Submit(RequestOf(kAlice, "same"));
  ASSERT_TRUE(first.ok()) << first.status().message();
  EXPECT_EQ(*client->Submit(RequestOf(kAlice, "same")), *first);
  KillCoordinator();
  StartCoordinator();
  const auto again = client->Submit(RequestOf(kAlice, "same"));
  ASSERT_TRUE(again.ok()) << again.status().message();
  EXPECT_EQ(*again, *first);
  EXPECT_NE(*client->Submit(RequestOf(kAlice, "other")), *first);
  EXPECT_EQ(client->List(true)->size(), 2U);
}

TEST_F(Coordinator, LosesNoAcknowledgedSubmissionHoweverOftenItIsKilled) {
  std::set<JobId> acknowledged;
  for (int life = 0; life < 5; ++life) {
    StartCoordinator();
    const auto client = ClientOf(kAlice);
    for (int i = 0; i < 10; ++i) {
      const auto job =
          client->Submit(RequestOf(kAlice, std::to_string(life) + "." + std::to_string(i)));
      ASSERT_TRUE(job.ok()) << job.status().message();
      acknowledged.insert(*job);
    }
    KillCoordinator();
  }
  StartCoordinator();
  std::set<JobId> found;
  const auto jobs = ClientOf(kAlice)->List(true);
  ASSERT_TRUE(jobs.ok()) << jobs.status().message();
  for (const JobView& job : *jobs) found.insert(job.id);
  EXPECT_EQ(found, acknowledged);
}

TEST_F(Coordinator, ComesBackWhereItWasAndAgentsReattachWithoutAnEventForTheJob) {
  StartCoordinator();
  FakeAgent n0(paths_, "n0", 1);
  const auto client = ClientOf(kAlice);
  const auto job = client->Submit(RequestOf(kAlice, "k"));
  ASSERT_TRUE(job.ok()) << job.status().message();
  ASSERT_TRUE(AwaitJob(*client, *job, Runs));
  const std::string address = *ReadFile(paths_.CoordinatorAddress());
  const std::size_t orders = n0.orders.size();

  KillCoordinator();
  ASSERT_TRUE(n0.Await([](FakeAgent& a) { return !a.closed.empty(); }));
  StartCoordinator();
  ASSERT_TRUE(n0.Await([](FakeAgent& a) { return a.registrations == 2; }));
  EXPECT_EQ(*ReadFile(paths_.CoordinatorAddress()), address);
  const auto view = client->Get(*job);
  ASSERT_TRUE(view.ok());
  EXPECT_TRUE(Runs(*view));
  EXPECT_EQ(view->restarts, 0U);
  EXPECT_EQ(view->attempt, 0U);
  EXPECT_EQ(client->Info()->life, 2U);
  n0.Finish(*job);
  ASSERT_TRUE(AwaitJob(*client, *job, Ended));
  EXPECT_EQ(client->Get(*job)->end, JobView::End::kSucceeded);
  // It may be told again what it does already; it was not told to stop.
  ASSERT_TRUE(n0.Await([](FakeAgent& a) { return a.jobds.empty(); }));
  for (std::size_t i = orders; i < n0.orders.size(); ++i) {
    EXPECT_FALSE(std::holds_alternative<StopAttempt>(n0.orders[i]));
  }
}

TEST_F(Coordinator, AWatchBeginsWithTheStateTellsTheStoryAndEndsWithTheJob) {
  StartCoordinator();
  FakeAgent n0(paths_, "n0", 1);
  const auto client = ClientOf(kAlice);
  const auto job = client->Submit(RequestOf(kAlice, "k"));
  ASSERT_TRUE(job.ok());
  ASSERT_TRUE(AwaitJob(*client, *job, Runs));
  Gathered<WatchNews> news;
  const auto watch = client->Watch(*job, [&](const WatchNews& item) { news.Add(item); }, {});
  ASSERT_TRUE(news.Await([](const auto& all) {
    return !all.empty() && std::holds_alternative<JobView>(all.back()) &&
           Runs(std::get<JobView>(all.back()));
  }));
  n0.Send(JobProgress{.job = *job,
                      .step = 7,
                      .loss = 2.5,
                      .tokens = 99,
                      .committed_step = 5,
                      .phase = std::string(1000, 'p'),
                      .phases = std::vector<PhaseTime>(1000, {std::string(1000, '\xff'), 5})});
  n0.Send(JobProgress{.job = *job, .step = 7, .note = "of a node that has not rank 0"});
  n0.Send(JobProgress{.job = *job, .note = "restored step 5 from \xffmemory"});
  n0.Send(JobMark{.job = *job, .mark = Mark::kFirstStep, .at_us = 1234});
  ASSERT_TRUE(news.Await([](const auto& all) {
    bool progress = false, note = false, mark = false;
    for (const WatchNews& item : all) {
      if (const auto* it = std::get_if<ProgressView>(&item)) progress |= it->step == 7;
      if (const auto* it = std::get_if<StoryLine>(&item)) {
        note |= it->text == "restored step 5 from ?memory" && it->node == "n0";
        mark |= it->mark && it->mark->at_us == 1234 && it->mark->mark == Mark::kFirstStep;
      }
    }
    return progress && note && mark;
  }));
  n0.Finish(*job);
  EXPECT_TRUE(watch->Wait().ok());
  const auto all = news.all();
  ASSERT_TRUE(std::holds_alternative<JobView>(all.back()));
  EXPECT_TRUE(Ended(std::get<JobView>(all.back())));
  // What a program may say is bounded.
  const ProgressView& progress = *std::get<JobView>(all.back()).progress;
  EXPECT_EQ(progress.step, 7U);
  EXPECT_EQ(progress.phase, std::string(32, 'p'));
  EXPECT_EQ(progress.phases, std::vector<PhaseTime>(16, {std::string(32, '?'), 5}));
  // Of a job that ended long ago there is one event.
  Gathered<WatchNews> later;
  EXPECT_TRUE(client->Watch(*job, [&](const WatchNews& n) { later.Add(n); }, {})->Wait().ok());
  EXPECT_TRUE(Ended(std::get<JobView>(later.all().back())));
}

TEST_F(Coordinator, AWatchOutlivesTheCoordinatorAndDoesNotRepeatTheStory) {
  StartCoordinator();
  FakeAgent n0(paths_, "n0", 1);
  const auto client = ClientOf(kAlice);
  const auto job = client->Submit(RequestOf(kAlice, "k"));
  ASSERT_TRUE(AwaitJob(*client, *job, Runs));
  Gathered<WatchNews> news;
  const auto watch = client->Watch(*job, [&](const WatchNews& item) { news.Add(item); }, {});
  const auto mark = [&](std::int64_t at) {
    n0.Send(JobMark{.job = *job, .mark = Mark::kFirstStep, .at_us = at});
  };
  const auto count = [](const auto& all, std::int64_t at) {
    return std::count_if(all.begin(), all.end(), [&](const WatchNews& item) {
      const auto* line = std::get_if<StoryLine>(&item);
      return line != nullptr && line->mark && line->mark->at_us == at;
    });
  };
  mark(1);
  ASSERT_TRUE(news.Await([&](const auto& all) { return count(all, 1) == 1; }));
  // The first try to connect may have closed as well.
  std::size_t closed = 0;
  ASSERT_TRUE(n0.Await([&](FakeAgent& a) {
    closed = a.closed.size();
    return true;
  }));
  KillCoordinator();
  ASSERT_TRUE(n0.Await([&](FakeAgent& a) { return a.closed.size() > closed; }));
  mark(2);  // Waits in the agent.
  StartCoordinator();
  ASSERT_TRUE(news.Await([&](const auto& all) { return count(all, 2) == 1; }));
  n0.Finish(*job);
  EXPECT_TRUE(watch->Wait().ok());
  EXPECT_EQ(count(news.all(), 1), 1);
}

TEST_F(Coordinator, CancelGivesGraceAndAgainGivesNone) {
  StartCoordinator();
  FakeAgent n0(paths_, "n0", 1);
  const auto client = ClientOf(kAlice);
  JobRequest request = RequestOf(kAlice, "k");
  request.grace_ms = 12345;
  const auto job = client->Submit(request);
  ASSERT_TRUE(AwaitJob(*client, *job, Runs));
  ASSERT_TRUE(client->Cancel(*job).ok());
  ASSERT_TRUE(AwaitJob(*client, *job, Ended));
  const auto view = client->Get(*job);
  EXPECT_EQ(view->end, JobView::End::kCancelled);
  EXPECT_EQ(view->exit_code, 143);
  bool graceful = false;
  for (const Order& order : n0.orders) {
    if (const auto* stop = std::get_if<StopAttempt>(&order)) graceful |= stop->grace_ms == 12345;
  }
  EXPECT_TRUE(graceful);
  EXPECT_TRUE(client->Cancel(*job).ok());  // It has ended: no error.
  EXPECT_EQ(client->Cancel(*job + 1).code(), Code::kNotFound);
}

TEST_F(Coordinator, SignalsReachTheNodeAndOnlyRunningJobs) {
  StartCoordinator();
  const auto client = ClientOf(kAlice);
  const auto job = client->Submit(RequestOf(kAlice, "k"));
  EXPECT_EQ(client->Signal(*job, SIGUSR1).code(), Code::kInvalid);
  FakeAgent n0(paths_, "n0", 1);
  ASSERT_TRUE(AwaitJob(*client, *job, Runs));
  EXPECT_EQ(client->Signal(*job, 65).code(), Code::kInvalid);
  ASSERT_TRUE(client->Signal(*job, SIGUSR1).ok());
  EXPECT_TRUE(n0.Await([](FakeAgent& a) {
    const auto* signal = std::get_if<SignalRanks>(&a.orders.back());
    return signal != nullptr && signal->signal == SIGUSR1;
  }));
}

TEST_F(Coordinator, AnAttachedJobThatNobodyHoldsIsStopped) {
  StartCoordinator({"hold_ms=300"});
  FakeAgent n0(paths_, "n0", 2);
  const auto client = ClientOf(kAlice);
  JobRequest request = RequestOf(kAlice, "held");
  request.attached = true;
  request.ranks_per_node = 1;
  const auto held = client->Submit(request);
  Gathered<int> holds;
  Gathered<Status> ends;
  auto hold = client->Attach(
      *held, [&] { holds.Add(1); }, [&](const Status& s) { ends.Add(s); });
  ASSERT_TRUE(holds.Await([](const auto& all) { return all.size() == 1; }));
  // Another one that is never held goes first; this one stays.
  request.submit_key = "alone";
  const auto alone = client->Submit(request);
  ASSERT_TRUE(AwaitJob(*client, *alone, Ended));
  EXPECT_EQ(client->Get(*alone)->cause.kind, CauseKind::kClientLost);
  EXPECT_TRUE(Runs(*client->Get(*held)));
  // The hold survives the coordinator, by being taken again.
  KillCoordinator();
  StartCoordinator({"hold_ms=2000"});
  ASSERT_TRUE(holds.Await([](const auto& all) { return all.size() == 2; }));
  hold.reset();
  ASSERT_TRUE(AwaitJob(*client, *held, Ended));
  EXPECT_EQ(client->Get(*held)->cause.kind, CauseKind::kClientLost);
  EXPECT_EQ(ends.all().size(), 1U);
}

TEST_F(Coordinator, AHoldEndsWithItsJob) {
  StartCoordinator();
  FakeAgent n0(paths_, "n0", 1);
  const auto client = ClientOf(kAlice);
  JobRequest request = RequestOf(kAlice, "k");
  request.attached = true;
  const auto job = client->Submit(request);
  const auto hold = client->Attach(*job, {}, {});
  ASSERT_TRUE(AwaitJob(*client, *job, Runs));
  n0.Finish(*job);
  EXPECT_TRUE(hold->Wait().ok());
}

TEST_F(Coordinator, AFullQueueIsSaidAndAgentsStayHeard) {
  StartCoordinator({"queue=0"});
  FakeAgent n0(paths_, "n0", 1);
  ASSERT_TRUE(n0.Await([](FakeAgent& a) { return a.registrations == 1; }));
  const auto client = ClientOf(kAlice, false, std::chrono::milliseconds(0));
  EXPECT_EQ(client->Submit(RequestOf(kAlice, "k")).status().code(), Code::kExhausted);
  EXPECT_EQ(client->Watch(1, {}, {})->Wait().code(), Code::kExhausted);
  EXPECT_EQ(client->Logs({.job = 1}, {}, {})->Wait().code(), Code::kExhausted);
  EXPECT_EQ(client->Attach(1, {}, {})->Wait().code(), Code::kExhausted);
}

TEST_F(Coordinator, ASilentNodeIsLostAndANodeThatComesBackIsNot) {
  StartCoordinator({"lease_ms=400"});
  const auto client = ClientOf(kRoot, true);
  const auto lost = [&](bool wanted) {
    for (int i = 0; i < 1000; ++i) {
      const auto nodes = client->Nodes();
      if (nodes.ok() && nodes->size() == 1 && (*nodes)[0].lost == wanted) return true;
      usleep(10'000);
    }
    return false;
  };
  {
    FakeAgent n0(paths_, "n0", 3);
    ASSERT_TRUE(lost(false));
    EXPECT_EQ((*client->Nodes())[0].slots, 3U);
  }
  ASSERT_TRUE(lost(true));
  FakeAgent again(paths_, "n0", 3);
  EXPECT_TRUE(lost(false));
  EXPECT_TRUE(client->Drain("n0", "bad fan", false).ok());
  EXPECT_EQ((*client->Nodes())[0].drained, "bad fan");
  EXPECT_TRUE(client->Drain("n0", "", false).ok());
  EXPECT_EQ(client->Drain("n7", "x", false).code(), Code::kNotFound);
}

TEST_F(Coordinator, StopsCleanlyAndListensWhereItDid) {
  StartCoordinator();
  ASSERT_TRUE(ClientOf(kAlice)->Submit(RequestOf(kAlice, "k")).ok());
  const std::string before = *ReadFile(paths_.CoordinatorAddress());
  struct stat info {};
  ASSERT_EQ(stat(paths_.CoordinatorAddress().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777U, 0644U);  // Other users of root's cluster read it.
  kill(pid(), SIGUSR1);
  EXPECT_EQ(StopCoordinator(SIGTERM), 0);
  EXPECT_NE(ReadFile(paths_.state + "/coordinator.log")->find("state: job 1 'job-k'"),
            std::string::npos);
  StartCoordinator();
  EXPECT_EQ(ClientOf(kAlice)->List(true)->size(), 1U);
  EXPECT_EQ(*ReadFile(paths_.CoordinatorAddress()), before);
}

TEST_F(Coordinator, RefusesAPortThatIsTakenAndAStateThatIsHeld) {
  StartCoordinator();
  const auto client = ClientOf(kAlice);
  ASSERT_TRUE(client->Info().ok());
  const pid_t first = pid_;
  StartCoordinator();
  EXPECT_EQ(StopCoordinator(0), 1);
  pid_ = first;
  EXPECT_TRUE(client->Info().ok());
  EXPECT_EQ(StopCoordinator(SIGTERM), 0);
}

TEST_F(Coordinator, GivesEveryJobUpWhenItsKeeperDies) {
  int keeper[2];
  ASSERT_EQ(pipe2(keeper, O_CLOEXEC), 0);
  ASSERT_EQ(fcntl(keeper[0], F_SETFD, 0), 0);
  StartCoordinator({"keeper_fd=" + std::to_string(keeper[0])});
  close(keeper[0]);
  FakeAgent n0(paths_, "n0", 1);
  const auto client = ClientOf(kAlice);
  const auto job = client->Submit(RequestOf(kAlice, "k"));
  ASSERT_TRUE(AwaitJob(*client, *job, Runs));
  close(keeper[1]);
  EXPECT_TRUE(n0.Await([](FakeAgent& a) {
    return std::any_of(a.orders.begin(), a.orders.end(),
                       [](const Order& o) { return std::holds_alternative<StopAttempt>(o); });
  }));
  EXPECT_EQ(StopCoordinator(0), 0);
}

}  // namespace
}  // namespace muster::testing
