// The program byte_gpt on GPUs, over the fake CUDA, NCCL and kernels.
#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/base/env_posix.h"
#include "runtime/base/recorder_file.h"
#include "runtime/comm/recorder.h"
#include "tests/fakes/fake_jobd_posix.h"
#include "tests/integration/lib/clean_test.h"
#include "tests/integration/train/program_posix.h"

namespace muster::testing {
namespace {

class ByteGptCuda : public CleanTest {
 protected:
  ByteGptCuda() {
    SetEnv("MUSTER_CUDART_LIBRARY", FAKE_CUDART);
    SetEnv("MUSTER_NCCL_LIBRARY", FAKE_NCCL);
    SetEnv("MUSTER_CUDA_PLUGIN", FAKE_MUSTER_CUDA);
  }

  // A later --steps would be one too many for the command line.
  static std::vector<std::string> Command(const std::vector<std::string>& arguments) {
    std::vector<std::string> words = {BYTE_GPT, "--layers",  "1",  "--channels", "32",   "--heads",
                                      "2",      "--context", "16", "--device",   "cuda", "--hash"};
    if (std::find(arguments.begin(), arguments.end(), "--steps") == arguments.end()) {
      words.insert(words.end(), {"--steps", "6"});
    }
    words.insert(words.end(), arguments.begin(), arguments.end());
    return words;
  }
  static ProgramEnd Run(const std::vector<std::string>& arguments,
                        const std::vector<std::string>& environment = {}) {
    return RunProgram(Command(arguments), environment);
  }
  static std::string HashOf(const ProgramEnd& end) {
    EXPECT_EQ(end.exit_code, 0) << end.output;
    const std::string words = "parameters sha256 ";
    const std::size_t at = end.output.rfind(words);
    return at == std::string::npos ? "no hash in: " + end.output
                                   : end.output.substr(at + words.size(), 64);
  }
  static void ExpectRefused(const ProgramEnd& end, int exit_code, const std::string& words) {
    EXPECT_EQ(end.exit_code, exit_code) << end.output;
    EXPECT_NE(end.output.find(words), std::string::npos) << end.output;
  }
};

TEST_F(ByteGptCuda, GivesOneHashOnAnyNumberOfGpusAndAcrossARestart) {
  const ProgramEnd alone = Run({"--bf16", "--sequences", "2"});
  const std::string hash = HashOf(alone);
  EXPECT_NE(alone.output.find("MFU"), std::string::npos) << alone.output;
  EXPECT_EQ(HashOf(Run({"--bf16", "--sequences", "2", "--threads", "3"})), hash);
  const std::string store = scene_.folder() + "/store";
  const ProgramEnd first = Run({"--bf16", "--sequences", "2", "--threads", "2", "--checkpoint-dir",
                                store, "--checkpoint-every", "2", "--stop-after", "3"});
  EXPECT_EQ(first.exit_code, 0) << first.output;
  const ProgramEnd second =
      Run({"--bf16", "--sequences", "2", "--threads", "4", "--checkpoint-dir", store});
  EXPECT_NE(second.output.find("restored step 3 from a commit"), std::string::npos)
      << second.output;
  EXPECT_EQ(HashOf(second), hash);
}

// Its checkpoints go through the job daemon's memory; GPU memory dies with a killed rank.
TEST_F(ByteGptCuda, AKilledRankGoesOnFromACommitUnderMusterWithTheSameBits) {
  const std::string hash = HashOf(Run({"--steps", "9"}));
  FakeJobd jobd(scene_.folder(), {});
  const std::vector<std::string> words = Command({"--steps", "9", "--checkpoint-every", "2"});
  FakeJobd::End end =
      jobd.RunAttempt(words, {.act = FakeJobd::Plan::Act::kKill, .rank = 0, .step = 5});
  EXPECT_TRUE(end.acted) << end.output;
  ASSERT_FALSE(jobd.Commits().empty()) << end.output;
  const auto recording = ReadRecording(jobd.MemoryOf(0, RecorderMemory(0)));
  ASSERT_TRUE(recording.ok()) << recording.status().message();
  const auto steps =
      std::count_if(recording->entries.begin(), recording->entries.end(),
                    [](const RecordedEntry& entry) { return entry.op == RecordedOp::kCompute; });
  EXPECT_GE(steps, 5) << "what the killed rank did is lost";
  const std::uint64_t committed = jobd.Commits().back();
  end = jobd.RunAttempt(words, {});
  EXPECT_EQ(end.exit_code, 0) << end.output;
  ASSERT_FALSE(end.notes.empty()) << end.output;
  EXPECT_EQ(end.notes[0], "restored step " + std::to_string(committed) + " from a commit");
  EXPECT_NE(end.output.find(hash), std::string::npos) << end.output;
  EXPECT_EQ(jobd.Commits().back(), 9U);
}

TEST_F(ByteGptCuda, WhatIsMissingOrDoesNotGoTogetherIsToldWithWhatToDo) {
  ExpectRefused(Run({}, {"MUSTER_CUDART_LIBRARY=/no/such/libcudart.so"}), 1,
                "--device cuda: no CUDA runtime");
  ExpectRefused(Run({}, {"MUSTER_CUDA_PLUGIN=/no/such/plugin.so"}), 1,
                "--device cuda: no GPU kernels");
  ExpectRefused(Run({"--threads", "2"}, {"MUSTER_NCCL_LIBRARY=/no/such/libnccl.so"}), 1,
                "--device cuda on several ranks");
  ExpectRefused(Run({"--threads", "9"}), 2, "--threads is 9, and this process sees 8 GPUs");
  ExpectRefused(Run({"--backend", "hybrid"}), 2, "with --device cuda it is nccl");
  ExpectRefused(Run({"--zero1"}), 1, "ZeRO-1 is for ranks on hosts");
  ExpectRefused(RunProgram({BYTE_GPT, "--device", "cuda", "--channels", "24"}), 2,
                "and of 16 with --device cuda");
  ExpectRefused(RunProgram({BYTE_GPT, "--backend", "nccl"}), 2, "add --device cuda");
}

}  // namespace
}  // namespace muster::testing
