// Logs travel byte for byte, whatever breaks on the way.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <map>
#include <random>

#include "runtime/base/file_posix.h"
#include "tests/integration/grpc/cluster_fixture.h"

namespace muster::testing {
namespace {

std::string RandomText(std::size_t size) {
  std::mt19937_64 random(4711);
  std::string text(size, '\0');
  for (char& c : text) c = static_cast<char>(random());
  return text;
}

bool Runs(const JobView& job) {
  return job.phase == JobView::Phase::kRunning && job.running;
}

class Logs : public ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    StartCoordinator();
    agent_ = std::make_unique<FakeAgent>(paths_, "n0", 2);
    client_ = ClientOf(kAlice);
    const auto job = client_->Submit(RequestOf(kAlice, "k"));
    ASSERT_TRUE(job.ok()) << job.status().message();
    job_ = *job;
    ASSERT_TRUE(AwaitJob(*client_, job_, Runs));
    ASSERT_TRUE(MakeFolders(paths_.JobLogs(job_) + "/0").ok());
  }
  void TearDown() override {
    client_.reset();
    agent_.reset();
    ClusterTest::TearDown();
  }

  void Write(std::uint32_t rank, bool is_stderr, const std::string& text) {
    std::ofstream file(LogFile(paths_.JobLogs(job_), 0, rank, is_stderr),
                       std::ios::binary | std::ios::app);
    file << text;
  }

  // Everything of one file, put together from the pieces; each must follow the one before.
  static std::string TextOf(const std::vector<LogPiece>& pieces, std::uint32_t rank,
                            bool is_stderr) {
    std::string text;
    for (const LogPiece& piece : pieces) {
      if (piece.rank != rank || piece.is_stderr != is_stderr) continue;
      EXPECT_EQ(piece.offset, text.size());
      text += piece.data;
    }
    return text;
  }
  static std::size_t SizeOf(const std::deque<LogPiece>& pieces) {
    std::size_t size = 0;
    for (const LogPiece& piece : pieces) size += piece.data.size();
    return size;
  }

  std::unique_ptr<FakeAgent> agent_;
  std::unique_ptr<ClusterClient> client_;
  JobId job_ = 0;
};

TEST_F(Logs, ComeByteForByteAndEndAtTheFilesEnds) {
  const std::string text = RandomText(5 << 20);
  Write(0, false, text);
  Write(1, true, "only an error\n");
  Gathered<LogPiece> pieces;
  const auto logs = client_->Logs({.job = job_}, [&](LogPiece p) { pieces.Add(std::move(p)); }, {});
  const Status status = logs->Wait();
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(TextOf(pieces.all(), 0, false), text);
  EXPECT_EQ(TextOf(pieces.all(), 1, true), "only an error\n");
}

TEST_F(Logs, OfSomeRanksOnly) {
  Write(0, false, "zero");
  Write(1, false, "one");
  Gathered<LogPiece> pieces;
  EXPECT_TRUE(
      client_->Logs({.job = job_, .ranks = {1}}, [&](LogPiece p) { pieces.Add(std::move(p)); }, {})
          ->Wait()
          .ok());
  EXPECT_EQ(TextOf(pieces.all(), 1, false), "one");
  EXPECT_EQ(pieces.all().size(), 1U);
  EXPECT_EQ(client_->Logs({.job = job_, .attempt = 3}, {}, {})->Wait().code(), Code::kNotFound);
}

TEST_F(Logs, AreFollowedUntilTheJobEnds) {
  Gathered<LogPiece> pieces;
  const auto logs = client_->Logs({.job = job_, .follow = true},
                                  [&](LogPiece p) { pieces.Add(std::move(p)); }, {});
  std::string all;
  for (const std::string& text : {RandomText(100), RandomText(3 << 20), RandomText(7)}) {
    Write(0, false, text);
    all += text;
    ASSERT_TRUE(pieces.Await([&](const auto& p) { return SizeOf(p) == all.size(); }));
  }
  Write(0, false, "the end");  // Right before the job ends: still comes.
  agent_->Finish(job_);
  EXPECT_TRUE(logs->Wait().ok());
  EXPECT_EQ(TextOf(pieces.all(), 0, false), all + "the end");
}

TEST_F(Logs, GoOnWhereTheyWereWhenTheCoordinatorIsKilled) {
  Gathered<LogPiece> pieces;
  const auto logs = client_->Logs({.job = job_, .follow = true},
                                  [&](LogPiece p) { pieces.Add(std::move(p)); }, {});
  std::string all;
  for (int life = 0; life < 3; ++life) {
    const std::string text = RandomText(1 << 20);
    Write(1, false, text);
    all += text;
    // Killed with bytes under way, too.
    ASSERT_TRUE(pieces.Await([&](const auto& p) { return SizeOf(p) > all.size() - (1 << 20); }));
    KillCoordinator();
    Write(1, false, "while it was away");
    all += "while it was away";
    StartCoordinator();
    ASSERT_TRUE(pieces.Await([&](const auto& p) { return SizeOf(p) == all.size(); }));
  }
  agent_->Finish(job_);
  const Status status = logs->Wait();
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(TextOf(pieces.all(), 1, false), all);
}

TEST_F(Logs, GoOnWhenTheAgentComesBack) {
  Gathered<LogPiece> pieces;
  const auto logs = client_->Logs({.job = job_, .follow = true},
                                  [&](LogPiece p) { pieces.Add(std::move(p)); }, {});
  Write(0, false, "before ");
  ASSERT_TRUE(pieces.Await([&](const auto& p) { return SizeOf(p) == 7; }));
  const std::map<JobId, JobdStatus> jobds = agent_->jobds;
  agent_.reset();
  Write(0, false, "after");
  agent_ = std::make_unique<FakeAgent>(paths_, "n0", 2);
  for (const auto& [job, status] : jobds) agent_->Say(status);
  agent_.reset();  // Once more, now listing the job for sure.
  agent_ = std::make_unique<FakeAgent>(paths_, "n0", 2);
  for (const auto& [job, status] : jobds) agent_->Say(status);
  EXPECT_TRUE(pieces.Await([&](const auto& p) { return SizeOf(p) == 12; }));
}

TEST_F(Logs, ASlowReaderSlowsNobody) {
  const std::string text = RandomText(40 << 20);
  Write(0, false, text);
  // One reader that takes its first piece and then stands still.
  Mutex mutex;
  std::condition_variable_any wake;
  bool go_on = false;
  Gathered<LogPiece> slow;
  const auto stuck = client_->Logs({.job = job_, .follow = true},
                                   [&](LogPiece piece) {
                                     slow.Add(std::move(piece));
                                     mutex.lock();
                                     wake.wait(mutex, [&] { return go_on; });
                                     mutex.unlock();
                                   },
                                   {});
  ASSERT_TRUE(slow.Await([](const auto& p) { return !p.empty(); }));
  // Others read, submit and watch meanwhile.
  const auto other = ClientOf(kAlice);
  Gathered<LogPiece> quick;
  EXPECT_TRUE(
      other->Logs({.job = job_}, [&](LogPiece p) { quick.Add(std::move(p)); }, {})->Wait().ok());
  EXPECT_EQ(TextOf(quick.all(), 0, false), text);
  EXPECT_TRUE(other->Submit(RequestOf(kAlice, "meanwhile")).ok());
  // And the coordinator does not keep for the slow one what it cannot take.
  const std::string status = *ReadFile("/proc/" + std::to_string(pid()) + "/status");
  const std::size_t at = status.find("VmRSS:");
  EXPECT_LT(std::atol(status.c_str() + at + 6), 128 << 10) << "KiB resident";
  mutex.lock();
  go_on = true;
  wake.notify_all();
  mutex.unlock();
  agent_->Finish(job_);
  EXPECT_TRUE(stuck->Wait().ok());
  EXPECT_EQ(TextOf(slow.all(), 0, false), text);
}

TEST_F(Logs, OfANodeThatIsLostAreMissedAloud) {
  Write(0, false, "unreachable");
  agent_.reset();
  for (int i = 0; i < 1000 && !(*client_->Nodes())[0].lost; ++i) usleep(10'000);
  Gathered<LogPiece> pieces;
  const auto logs = client_->Logs({.job = job_}, [&](LogPiece p) { pieces.Add(std::move(p)); }, {});
  const Status status = logs->Wait();
  EXPECT_EQ(status.code(), Code::kDataLoss);
  EXPECT_NE(status.message().find("n0"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace muster::testing
