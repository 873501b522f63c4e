#include <gtest/gtest.h>

#include <random>

#include "runtime/base/env_posix.h"
#include "runtime/base/lean_start.h"
#include "runtime/base/text.h"
#include "tests/fakes/fake_jobd_posix.h"
#include "tests/integration/lib/clean_test.h"
#include "tests/integration/train/program_posix.h"

namespace muster::testing {
namespace {

using Act = FakeJobd::Plan::Act;

std::string LastAfter(const std::string& text, const std::string& words) {
  const std::size_t at = text.rfind(words);
  if (at == std::string::npos) return "no \"" + words + "\" in: " + text;
  const std::size_t begin = at + words.size();
  return text.substr(begin, text.find_first_of(" ,\n", begin) - begin);
}

std::string HashOf(const std::string& output) {
  return LastAfter(output, "parameters sha256 ");
}

class ByteGpt : public CleanTest {
 protected:
  ByteGpt() {
    // Lean starts (design D1a), and ranks that share cores.
    SetEnv("OMPI_MCA_pml", "ob1");
    for (const LeanSetting& setting : kLeanHwloc) SetEnv(setting.name, setting.value);
    SetEnv("OMPI_MCA_mpi_yield_when_idle", "1");
  }

  static std::vector<std::string> Command(const std::vector<std::string>& arguments) {
    std::vector<std::string> words = {BYTE_GPT};
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  static ProgramEnd Alone(const std::vector<std::string>& arguments) {
    return RunProgram(Command(arguments));
  }
  static ProgramEnd Mpirun(int ranks, const std::vector<std::string>& arguments) {
    std::vector<std::string> words = {"mpirun", "--allow-run-as-root", "--oversubscribe", "-np",
                                      std::to_string(ranks)};
    const auto command = Command(arguments);
    words.insert(words.end(), command.begin(), command.end());
    return RunProgram(words);
  }
};

TEST_F(ByteGpt, StartsAtLn256AndIsBelow2Point9After120Steps) {
  const ProgramEnd end = Alone({"--steps", "120"});
  ASSERT_EQ(end.exit_code, 0) << end.output;
  EXPECT_NEAR(std::stod(LastAfter(end.output, "step 1/120 loss ")), 5.545, 0.05);
  EXPECT_LT(std::stod(LastAfter(end.output, "loss ema ")), 2.9);
}

TEST_F(ByteGpt, AloneThreadsAndMpirunEndInTheSameBits) {
  const std::vector<std::string> arguments = {"--steps", "11", "--hash"};
  const std::string hash = HashOf(Alone(arguments).output);
  ASSERT_EQ(hash.size(), 64U) << hash;
  EXPECT_EQ(HashOf(Alone({"--steps", "11", "--hash", "--threads", "2"}).output), hash);
  EXPECT_EQ(HashOf(Mpirun(3, arguments).output), hash);
  EXPECT_EQ(HashOf(Mpirun(4, arguments).output), hash);
}

TEST_F(ByteGpt, ACommitOfOneRankIsContinuedByThreeWithTheSameBits) {
  const std::string store = scene_.folder() + "/store";
  const std::vector<std::string> arguments = {
      "--steps", "11", "--checkpoint-every", "4", "--checkpoint-dir", store, "--hash"};
  std::vector<std::string> cut = arguments;
  cut.insert(cut.end(), {"--stop-after", "6"});
  const ProgramEnd first = Alone(cut);
  EXPECT_EQ(first.exit_code, 0) << first.output;
  EXPECT_NE(first.output.find("checkpoint of step 6 is committed"), std::string::npos);
  const ProgramEnd second = Mpirun(3, arguments);
  EXPECT_NE(second.output.find("restored step 6 from a commit"), std::string::npos)
      << second.output;
  EXPECT_EQ(HashOf(second.output), HashOf(Alone({"--steps", "11", "--hash"}).output));

  std::vector<std::string> other = arguments;
  other.insert(other.end(), {"--data", "/usr/share/common-licenses/GPL-2"});
  const ProgramEnd refused = Alone(other);
  EXPECT_EQ(refused.exit_code, 2);
  EXPECT_NE(refused.output.find("data_crc32c is "), std::string::npos) << refused.output;
}

TEST_F(ByteGpt, AnMpiSingletonIsAnErrorThatNamesBothSizes) {
  const ProgramEnd end = RunProgram(
      Command({"--steps", "1"}),
      {"MUSTER_RANK=0", "MUSTER_WORLD_SIZE=4", "MUSTER_LOCAL_RANK=0", "MUSTER_LOCAL_WORLD_SIZE=4",
       "MUSTER_NODE_RANK=0", "MUSTER_NUM_NODES=1", "MUSTER_ATTEMPT=0"});
  EXPECT_EQ(end.exit_code, 70);
  EXPECT_NE(end.output.find("started 4 ranks, but MPI_Comm_size is 1"), std::string::npos)
      << end.output;
  EXPECT_NE(end.output.find("MPI started as a singleton"), std::string::npos);
}

// Ranks are killed with SIGKILL three times at random moments; what the job daemon's memory kept is
// gone on from.  23 steps, a checkpoint every 6.
TEST_F(ByteGpt, KilledRanksGoOnFromMemoryAndEndInTheSameBits) {
  const std::vector<std::string> arguments = {"--steps", "23", "--checkpoint-every", "6", "--hash"};
  const std::string hash = HashOf(Alone({"--steps", "23", "--hash"}).output);
  ASSERT_EQ(hash.size(), 64U) << hash;
  const unsigned seed = std::random_device()();
  std::mt19937 random(seed);
  RecordProperty("seed", static_cast<int>(seed));
  SCOPED_TRACE("seed " + std::to_string(seed));
  int from_memory = 0;
  for (const FakeJobd::Shape shape : {FakeJobd::Shape{1, 3}, FakeJobd::Shape{2, 2}}) {
    FakeJobd jobd(scene_.folder(), shape);
    const auto ranks = static_cast<unsigned>(shape.nodes * shape.per_node);
    for (std::uint64_t step = 2 + random() % 4; step < 16; step += 3 + random() % 6) {
      if (step % 6 == 0) ++step;
      const FakeJobd::End end = jobd.RunAttempt(
          Command(arguments), {.act = Act::kKill,
                               .rank = static_cast<int>(random() % ranks),
                               .step = step,
                               .delay = std::chrono::microseconds(random() % 50'000)});
      EXPECT_TRUE(end.acted) << end.output;
      EXPECT_NE(end.exit_code, 0) << end.output;
    }
    const FakeJobd::End end = jobd.RunAttempt(Command(arguments), {});
    EXPECT_EQ(end.exit_code, 0) << end.output;
    EXPECT_EQ(HashOf(end.output), hash) << end.output;
    ASSERT_FALSE(end.notes.empty()) << end.output;
    from_memory += end.notes[0].ends_with("from memory") ? 1 : 0;
    EXPECT_EQ(jobd.Commits().back(), 23U);
  }
  EXPECT_GT(from_memory, 0) << "no attempt found a whole state in memory";
}

TEST_F(ByteGpt, TwoNodesOfEightRanksEndInTheSameBits) {
  const std::vector<std::string> arguments = {"--steps", "5", "--hash"};
  FakeJobd jobd(scene_.folder(), {.nodes = 2, .per_node = 8});
  const FakeJobd::End end = jobd.RunAttempt(Command(arguments), {});
  EXPECT_EQ(end.exit_code, 0) << end.output;
  EXPECT_EQ(HashOf(end.output), HashOf(Alone(arguments).output));
}

// Over mpi and hybrid, with and without ZeRO-1, sums during and after the backward pass, on 2, 3,
// 5, 6 and 7 ranks.
TEST_F(ByteGpt, EveryBackendShardedOrNotOverlappedOrNotEndsInTheSameBits) {
  struct Case {
    FakeJobd::Shape shape;
    std::vector<std::string> more;
  };
  const std::vector<std::string> arguments = {"--steps", "3", "--hash"};
  const std::string hash = HashOf(Alone(arguments).output);
  ASSERT_EQ(hash.size(), 64U) << hash;
  for (const Case& one :
       {Case{{2, 1}, {"--zero1", "--backend", "hybrid"}}, Case{{3, 1}, {"--no-overlap"}},
        Case{{5, 1}, {"--zero1"}}, Case{{2, 3}, {"--backend", "hybrid"}},
        Case{{7, 1}, {"--zero1", "--no-overlap", "--backend", "hybrid"}}}) {
    std::vector<std::string> words = arguments;
    words.insert(words.end(), one.more.begin(), one.more.end());
    FakeJobd jobd(scene_.folder(), one.shape);
    const FakeJobd::End end = jobd.RunAttempt(Command(words), {});
    EXPECT_EQ(end.exit_code, 0) << end.output;
    EXPECT_EQ(HashOf(end.output), hash)
        << one.shape.nodes << " x " << one.shape.per_node << Join(one.more, " ");
  }
}

// Each node's shard crosses the link as boxes; the second attempt has neither node's memory.
TEST_F(ByteGpt, Zero1GoesOnFromMemoryAndFromACommitWithTheSameBits) {
  const std::string hash = HashOf(Alone({"--steps", "9", "--hash"}).output);
  const std::vector<std::string> arguments = {"--steps", "9",      "--checkpoint-every",
                                              "3",       "--hash", "--zero1"};
  FakeJobd jobd(scene_.folder(), {.nodes = 2, .per_node = 2});
  std::vector<std::string> cut = arguments;
  cut.insert(cut.end(), {"--stop-after", "4"});
  EXPECT_EQ(jobd.RunAttempt(Command(cut), {}).exit_code, 0);
  cut.back() = "7";
  FakeJobd::End end = jobd.RunAttempt(Command(cut), {});
  ASSERT_FALSE(end.notes.empty()) << end.output;
  EXPECT_EQ(end.notes[0], "restored step 4 from memory");
  jobd.LoseMemory(1);
  end = jobd.RunAttempt(Command(arguments), {});
  ASSERT_FALSE(end.notes.empty()) << end.output;
  EXPECT_EQ(end.notes[0], "restored step 7 from a commit");
  EXPECT_EQ(HashOf(end.output), hash) << end.output;
}

TEST_F(ByteGpt, AMistakeInTheOptionsOfTrainingIsNamed) {
  const std::pair<std::vector<std::string>, std::string> mistakes[] = {
      {{"--loss-scale", "1000"}, "the loss scale is 1000, allowed is a power of two"},
      {{"--loss-scale", "much"}, "--loss-scale is \"much\", allowed is a power of two"},
      {{"--clip", "-1"}, "the norm to clip to is -1"},
      {{"--accumulate", "8192"}, "16 x 8192 micro-batches"},
      {{"--threads", "5", "--micro-batches", "4"}, "4 micro-batches for 5 ranks"}};
  for (const auto& [arguments, words] : mistakes) {
    const ProgramEnd end = Alone(arguments);
    EXPECT_EQ(end.exit_code, 2) << end.output;
    EXPECT_NE(end.output.find(words), std::string::npos) << end.output;
  }
}

TEST_F(ByteGpt, ALostNodeGetsItsStateFromTheOther) {
  const std::vector<std::string> arguments = {"--steps", "11", "--hash"};
  FakeJobd jobd(scene_.folder(), {.nodes = 2, .per_node = 2});
  jobd.RunAttempt(Command({"--steps", "11", "--stop-after", "5"}), {});
  jobd.LoseMemory(0);
  const FakeJobd::End end = jobd.RunAttempt(Command(arguments), {});
  EXPECT_EQ(end.exit_code, 0) << end.output;
  ASSERT_FALSE(end.notes.empty());
  EXPECT_EQ(end.notes[0], "restored step 5 from memory");
  EXPECT_EQ(HashOf(end.output), HashOf(Alone(arguments).output));
}

TEST_F(ByteGpt, AskedToStopItCommitsAndGoesOnLaterFromTheCommit) {
  const std::vector<std::string> arguments = {"--steps", "19", "--checkpoint-every", "100",
                                              "--hash"};
  FakeJobd jobd(scene_.folder(), {.nodes = 2, .per_node = 2});
  const FakeJobd::End stopped =
      jobd.RunAttempt(Command(arguments), {.act = Act::kStop, .rank = 3, .step = 4});
  EXPECT_EQ(stopped.exit_code, 0) << stopped.output;
  ASSERT_EQ(jobd.Commits().size(), 1U) << stopped.output;
  const std::uint64_t step = jobd.Commits()[0];
  EXPECT_LT(step, 19U);
  EXPECT_EQ(step, stopped.last_step);
  jobd.LoseMemory(0);
  jobd.LoseMemory(1);
  const FakeJobd::End end = jobd.RunAttempt(Command(arguments), {});
  ASSERT_FALSE(end.notes.empty()) << end.output;
  EXPECT_EQ(end.notes[0], "restored step " + std::to_string(step) + " from a commit");
  EXPECT_EQ(HashOf(end.output), HashOf(Alone({"--steps", "19", "--hash"}).output));
}

TEST_F(ByteGpt, AStoreThatRefusesDoesNotStopTrainingButIsTold) {
  FakeJobd jobd(scene_.folder(), {.nodes = 1, .per_node = 2});
  jobd.refuse_saves = true;
  const FakeJobd::End end =
      jobd.RunAttempt(Command({"--steps", "5", "--checkpoint-every", "2", "--hash"}), {});
  EXPECT_NE(end.output.find("checkpoint of step 2 is NOT committed: the store is full"),
            std::string::npos)
      << end.output;
  EXPECT_EQ(end.last_step, 5U);
  EXPECT_EQ(end.exit_code, 1);
}

}  // namespace
}  // namespace muster::testing
