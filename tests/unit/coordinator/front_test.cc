#include "launcher/coordinator/front.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

// Keeps batches in memory; they are durable when the test says so.
class HeldJournal final : public Journal {
 public:
  Result<LoadedState> Load() override { return LoadedState{}; }
  void Start(Listener) override {}
  std::uint64_t Append(std::vector<Fact> facts) override {
    batches.push_back(std::move(facts));
    return batches.size();
  }
  void Snapshot(State state) override { snapshot = std::move(state); }
  Status Stop() override { return {}; }

  std::vector<std::vector<Fact>> batches;
  std::optional<State> snapshot;
};

struct FakeStream final : AgentStream {
  void WantExec(const ExecWant& want) override { execs.push_back(want); }
  std::vector<ExecWant> execs;
  void WantInput(const InputWant& want) override { inputs.push_back(want); }
  std::vector<InputWant> inputs;
  void GiveOrder(Incarnation, const Order& order) override { orders.push_back(order); }
  void WantLogs(const LogWant& want) override { wants.push_back(want); }
  void EnoughLogs(std::uint64_t want) override { enough.push_back(want); }
  void End(const Status& status) override { ended = status; }
  std::vector<Order> orders;
  std::vector<LogWant> wants;
  std::vector<std::uint64_t> enough;
  std::optional<Status> ended;
};

struct FakeWatcher final : Watcher {
  void Show(std::shared_ptr<const JobPicture> picture) override { pictures.push_back(picture); }
  void Show(const JobProgress&) override {}
  void Show(const Story& story) override { stories.push_back(story); }
  void End(const Status& status) override { ended = status; }
  std::vector<std::shared_ptr<const JobPicture>> pictures;
  std::vector<Story> stories;
  std::optional<Status> ended;
};

struct FakeReader final : LogReader {
  std::vector<LogOffset> Offsets() const override { return offsets; }
  void Expect(std::uint64_t want, const NodeName&) override { expected.push_back(want); }
  void End(const Status& status) override { ended = status; }
  std::vector<LogOffset> offsets;
  std::vector<std::uint64_t> expected;
  std::optional<Status> ended;
};

struct FakeGiver final : InputGiver {
  void Offered() override { offered = true; }
  void Expect(std::uint64_t, const NodeName& node) override { expected = node; }
  void End(const Status& status) override { ended = status; }
  bool offered = false;
  NodeName expected;
  std::optional<Status> ended;
};

class FrontTest : public ::testing::Test {
 protected:
  FrontTest() : front_(config_, journal_, [](const Told&) {}) {
    front_.Begin({}, Now());
    Sync();
  }

  Moment Now() const { return {.now = now_, .wall = {}}; }
  // Calls it whenever it wants to be called.
  void RunUntil(TimePoint until) {
    while (front_.NextDeadline() <= until) {
      now_ = std::max(now_, front_.NextDeadline());
      front_.Tick(Now());
      Sync();
    }
    now_ = until;
  }
  void Sync() { front_.JournalMoved({.durable = journal_.batches.size()}); }

  std::shared_ptr<FakeStream> Register(const NodeName& node, std::uint64_t number,
                                       const std::vector<JobdStatus>& jobds = {}) {
    auto stream = std::make_shared<FakeStream>();
    front_.Register(number, stream,
                    {.name = node, .slots = 1, .incarnation = 100 + number, .boot_id = "b-" + node},
                    jobds, Now());
    return stream;
  }
  JobSubmitted Submission(const std::string& key) {
    JobSubmitted submitted{.submit_key = key, .run_id = "r", .job_key = "k"};
    submitted.spec.name = key;
    submitted.spec.program.argv = {"true"};
    submitted.spec.ranks_per_node = 1;
    return submitted;
  }
  JobId Submit(const std::string& key) {
    JobId job = 0;
    front_.Take(Submission(key), Now(), [&](const Status& status, JobId accepted) {
      EXPECT_TRUE(status.ok());
      job = accepted;
    });
    Sync();
    return job;
  }

  // A job of one rank that takes input and may start again; its first attempt is told to begin.
  JobId SubmitReader() {
    JobSubmitted submitted = Submission("reads");
    submitted.spec.launch.stdin_rank0 = true;
    submitted.spec.restart.max = 1;
    JobId job = 0;
    front_.Take(submitted, Now(), [&](const Status&, JobId accepted) { job = accepted; });
    Sync();
    return job;
  }
  void Reported(JobId job, MemberPhase phase, const Cause& cause = {}) {
    front_.Reported("n0", 1, JobdStatus{.job = job, .instance = 7, .phase = phase, .cause = cause},
                    Now());
    Sync();
  }
  std::shared_ptr<FakeGiver> Offer(std::uint64_t id, JobId job) {
    auto giver = std::make_shared<FakeGiver>();
    front_.OfferInput(id, job, giver);
    return giver;
  }

  CoordinatorConfig config_{.cluster = "test"};
  HeldJournal journal_;
  Front front_;
  TimePoint now_{std::chrono::seconds(100)};
};

TEST_F(FrontTest, NothingLeavesBeforeItsFactsAreDurable) {
  const auto stream = Register("n0", 1);
  Sync();
  std::optional<JobId> answered;
  const auto reply = [&](const Status&, JobId job) { answered = job; };
  front_.Take(Submission("k"), Now(), reply);
  EXPECT_FALSE(answered);
  EXPECT_TRUE(stream->orders.empty());
  // A second submission makes no fact, but what it answers rests on one that is not yet safe.
  std::optional<JobId> again;
  front_.Take(Submission("k"), Now(), [&](const Status&, JobId job) { again = job; });
  EXPECT_FALSE(again);
  Sync();
  EXPECT_EQ(answered, 1U);
  EXPECT_EQ(again, 1U);
  ASSERT_EQ(stream->orders.size(), 1U);
  EXPECT_TRUE(std::holds_alternative<StartAttempt>(stream->orders[0]));
}

TEST_F(FrontTest, AfterTheJournalFailedNothingIsAcknowledged) {
  const auto stream = Register("n0", 1);
  Sync();
  auto watcher = std::make_shared<FakeWatcher>();
  front_.Watch(Submit("first"), 1, 0, 0, watcher);
  const std::size_t orders = stream->orders.size();
  std::optional<Status> before, after;
  front_.Take(Submission("k"), Now(), [&](const Status& status, JobId) { before = status; });
  front_.JournalMoved({.failure = Status(Code::kExhausted, "disk full")});
  ASSERT_TRUE(before);
  EXPECT_EQ(before->message(), "disk full");
  front_.Take(Submission("l"), Now(), [&](const Status& status, JobId) { after = status; });
  EXPECT_EQ(after->message(), "disk full");
  EXPECT_EQ(stream->orders.size(), orders);
  EXPECT_EQ(stream->ended->message(), "disk full");
  EXPECT_EQ(watcher->ended->message(), "disk full");
  // What the disk says later changes nothing.
  Sync();
  EXPECT_FALSE(front_.failure().ok());
}

TEST_F(FrontTest, AnOvertakenStreamIsNeverHeardAgain) {
  const auto second = Register("n0", 2);
  const auto first = Register("n0", 1);  // Accepted earlier, registers later.
  Sync();
  EXPECT_EQ(first->ended->code(), Code::kAborted);
  EXPECT_FALSE(second->ended);
  EXPECT_EQ(front_.state().nodes.at("n0").incarnation, 102U);
  const auto third = Register("n0", 3);
  EXPECT_EQ(second->ended->code(), Code::kAborted);
  const std::size_t facts = journal_.batches.size();
  front_.Reported("n0", 2, JobdStatus{.job = 1}, Now());
  EXPECT_EQ(journal_.batches.size(), facts);
  EXPECT_FALSE(third->ended);
}

TEST_F(FrontTest, ANodeIsLostWhenItsLeaseIsOverAndFoundWhenHeard) {
  (void)Register("n0", 1);
  Sync();
  const TimePoint over = now_ + config_.lease;
  RunUntil(over - std::chrono::milliseconds(1));
  EXPECT_FALSE(front_.state().nodes.at("n0").lost);
  RunUntil(over);
  EXPECT_TRUE(front_.state().nodes.at("n0").lost);
  front_.Heard("n0", 1, Now());
  EXPECT_FALSE(front_.state().nodes.at("n0").lost);
}

// It has not read what they said meanwhile, and they may have been paused with it.
TEST_F(FrontTest, ACoordinatorThatWasNotRunItselfHearsTheNodesOutFirst) {
  (void)Register("n0", 1);
  (void)Register("n1", 2);
  Sync();
  now_ += std::chrono::seconds(70);
  front_.Tick(Now());
  RunUntil(now_ + std::chrono::milliseconds(200));
  front_.Heard("n0", 1, Now());
  RunUntil(now_ + std::chrono::milliseconds(299));
  EXPECT_FALSE(front_.state().nodes.at("n1").lost);
  RunUntil(now_ + std::chrono::milliseconds(1));
  EXPECT_TRUE(front_.state().nodes.at("n1").lost);
  EXPECT_FALSE(front_.state().nodes.at("n0").lost);
}

// Else one that stalls again and again would never find out.
TEST_F(FrontTest, ASilenceIsForgivenOnce) {
  (void)Register("n0", 1);
  Sync();
  now_ += std::chrono::seconds(70);
  front_.Tick(Now());
  now_ += std::chrono::seconds(2);
  front_.Tick(Now());
  EXPECT_TRUE(front_.state().nodes.at("n0").lost);
}

TEST_F(FrontTest, AWatchGetsOnlyTheStoryThatItDoesNotHave) {
  const JobId job = Submit("k");
  auto all = std::make_shared<FakeWatcher>();
  front_.Watch(job, 1, 0, 0, all);
  ASSERT_FALSE(all->stories.empty());
  ASSERT_EQ(all->pictures.size(), 1U);
  const Story last = all->stories.back();
  auto resumed = std::make_shared<FakeWatcher>();
  front_.Watch(job, 2, last.life, last.number, resumed);
  EXPECT_TRUE(resumed->stories.empty());
  EXPECT_EQ(resumed->pictures.size(), 1U);
  auto of_another_life = std::make_shared<FakeWatcher>();
  front_.Watch(job, 3, last.life + 1, last.number, of_another_life);
  EXPECT_EQ(of_another_life->stories.size(), all->stories.size());
}

TEST_F(FrontTest, LogsAreAskedOfTheNodesAndAgainWhenOneComesBack) {
  auto stream = Register("n0", 1);
  Sync();
  const JobId job = Submit("k");
  auto reader = std::make_shared<FakeReader>();
  front_.ReadLogs(1, {.job = job, .follow = true}, reader);
  ASSERT_EQ(stream->wants.size(), 1U);
  EXPECT_TRUE(stream->wants[0].follow);
  EXPECT_EQ(reader->expected, std::vector<std::uint64_t>{stream->wants[0].id});
  reader->offsets = {{.attempt = 0, .rank = 0, .offset = 77}};
  JobdStatus runs{.job = job, .instance = 5, .phase = MemberPhase::kRunning};
  stream = Register("n0", 2, {runs});
  Sync();
  ASSERT_EQ(stream->wants.size(), 1U);
  EXPECT_EQ(stream->wants[0].from.at(0).offset, 77U);
  // The job ends: what is left is asked for, and with it the reader has all.
  runs.phase = MemberPhase::kLeft;
  front_.Reported("n0", 2, runs, Now());
  Sync();
  EXPECT_EQ(stream->enough, std::vector<std::uint64_t>{stream->wants[0].id});
  EXPECT_FALSE(reader->ended);
  front_.LogsPushed(stream->wants[0].id, true);
  ASSERT_TRUE(reader->ended);
  EXPECT_TRUE(reader->ended->ok());
}

TEST_F(FrontTest, InputIsAskedForOnceWhenRank0Runs) {
  const auto stream = Register("n0", 1);
  const JobId job = SubmitReader();
  const auto giver = Offer(5, job);
  EXPECT_TRUE(giver->offered);
  EXPECT_TRUE(stream->inputs.empty());
  Reported(job, MemberPhase::kRunning);
  ASSERT_EQ(stream->inputs.size(), 1U);
  EXPECT_EQ(stream->inputs[0].id, 5U);
  EXPECT_EQ(stream->inputs[0].job, job);
  EXPECT_EQ(giver->expected, "n0");
  Reported(job, MemberPhase::kRunning);
  EXPECT_EQ(stream->inputs.size(), 1U);
  EXPECT_EQ(Offer(6, job)->ended->code(), Code::kInvalid);
  EXPECT_FALSE(giver->ended);
}

TEST_F(FrontTest, InputThatIsOfferedLateIsAskedForAtOnceAndANewerOfferTakesOver) {
  const JobId job = SubmitReader();
  const auto before = Offer(5, job);
  const auto giver = Offer(6, job);
  EXPECT_EQ(before->ended->code(), Code::kAborted);
  const auto stream = Register("n0", 1);
  Sync();
  Reported(job, MemberPhase::kRunning);
  ASSERT_EQ(stream->inputs.size(), 1U);
  EXPECT_EQ(stream->inputs[0].id, 6U);
}

TEST_F(FrontTest, InputWaitsForTheAgentOfItsNode) {
  Register("n0", 1);
  const JobId job = SubmitReader();
  Reported(job, MemberPhase::kRunning);
  front_.AgentClosed("n0", 1);
  const auto giver = Offer(5, job);
  EXPECT_FALSE(giver->ended);
  const JobdStatus runs{.job = job, .instance = 7, .phase = MemberPhase::kRunning};
  const auto second = Register("n0", 2, {runs});
  Sync();
  EXPECT_EQ(second->inputs.size(), 1U);
  // That agent may never have heard of it.
  const auto stream = Register("n0", 3, {runs});
  Sync();
  ASSERT_EQ(stream->inputs.size(), 1U);
  front_.InputAttached(5);
  // From here on it cannot be mended.
  EXPECT_FALSE(giver->ended);
  front_.AgentClosed("n0", 3);
  ASSERT_TRUE(giver->ended);
  EXPECT_EQ(giver->ended->code(), Code::kAborted);
}

TEST_F(FrontTest, InputEndsWithTheFirstAttempt) {
  const auto stream = Register("n0", 1);
  const JobId job = SubmitReader();
  const auto giver = Offer(5, job);
  Reported(job, MemberPhase::kLeft, {.kind = CauseKind::kSignal, .rank = 0, .code = 9});
  ASSERT_TRUE(giver->ended);
  EXPECT_TRUE(giver->ended->ok());
  EXPECT_TRUE(stream->inputs.empty());
  EXPECT_EQ(front_.state().jobs.at(job).next_attempt, 2U);
  EXPECT_TRUE(Offer(6, job)->ended->ok());
}

TEST_F(FrontTest, InputIsRefusedWhereNobodyReadsIt) {
  EXPECT_EQ(Offer(5, 77)->ended->code(), Code::kNotFound);
  EXPECT_EQ(Offer(6, Submit("deaf"))->ended->code(), Code::kInvalid);
  const auto giver = Offer(7, SubmitReader());
  front_.Close(Status(Code::kUnavailable, "the end"));
  EXPECT_EQ(giver->ended->message(), "the end");
}

TEST_F(FrontTest, WhenAllIsToEndItWaitsForNoNodeThatIsSilent) {
  Register("n0", 1);
  const JobId job = Submit("k");
  front_.Reported("n0", 1, JobdStatus{.job = job, .instance = 7, .phase = MemberPhase::kRunning},
                  Now());
  Sync();
  front_.GiveUp(Now());
  Sync();
  EXPECT_FALSE(front_.AllOver());
  // Its agent left before it could say that the job did.
  RunUntil(now_ + std::chrono::seconds(60));
  EXPECT_TRUE(front_.AllOver());
}

}  // namespace
}  // namespace muster
