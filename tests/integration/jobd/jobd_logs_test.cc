// The ranks' log files: every byte, in order, with its time; and what happens without room for
// them.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "launcher/jobd/log_drain_posix.h"
#include "runtime/base/log_times.h"
#include "tests/integration/jobd/test_job_posix.h"
#include "tests/integration/lib/clean_test.h"

namespace muster {
namespace {

class JobdLogsTest : public testing::CleanTest {
 protected:
  TestJobOptions Options(std::uint32_t ranks, const std::string& script) const {
    return {.folder = scene_.folder(), .ranks_per_host = ranks, .argv = {"sh", "-c", script}};
  }
  std::string File(const std::string& name) const { return scene_.folder() + "/" + name; }
  bool IsThere(const std::string& name) const { return access(File(name).c_str(), F_OK) == 0; }
  // A log, as the job daemon sees it: also where it has a mount of its own.
  static std::string Log(const TestJob& job, AttemptNumber attempt, std::uint32_t rank,
                         bool is_stderr = false) {
    const auto text = ReadFile("/proc/" + std::to_string(job.nodes[0]->pid()) + "/root" +
                               LogFile(LogsOfJob(job.nodes[0]->arguments().logs, job.order.job),
                                       attempt, rank, is_stderr));
    return text.ok() ? *text : "";
  }
  // Of all notes that came, whether one has the text.
  static bool Noted(const TestJob& job, const std::string& text) {
    for (const JobProgress& progress : job.nodes[0]->progress) {
      if (progress.note.find(text) != std::string::npos) return true;
    }
    return false;
  }
};

TEST_F(JobdLogsTest, LosesNoByteOfSixteenRanksThatWriteAsFastAsTheyCan) {
  // Lines of ten bytes, 16 MB a rank: 10000000 to 11599999 and so on.
  TestJob job(Options(16, "b=$((RANK * 2000000 + 100000000)); exec seq $b $((b + 1599999))"));
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft)) << job.FirstCause().text;
  ASSERT_EQ(job.FirstCause().kind, CauseKind::kNone) << job.FirstCause().text;
  for (std::uint32_t rank = 0; rank < 16; ++rank) {
    std::string expected;
    expected.reserve(16'000'000);
    for (std::uint32_t i = 0; i < 1'600'000; ++i) {
      expected += std::to_string(rank * 2'000'000 + 100'000'000 + i);
      expected += '\n';
    }
    EXPECT_TRUE(job.Out(0, rank) == expected) << "rank " << rank;
  }
  EXPECT_TRUE(job.End());
}

TEST_F(JobdLogsTest, HasWhatARankWroteWhileItStillRuns) {
  TestJob job(Options(1, "printf 'no end of line'; printf 'half a' >&2; exec sleep 1000"));
  job.Start(0);
  EXPECT_TRUE(job.Until([&] { return job.Out(0, 0) == "no end of line"; }));
  EXPECT_TRUE(job.Until([&] { return job.Err(0, 0) == "half a"; }));
  job.SendAll(StopAttempt{job.order.job, 0, 0});
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_TRUE(job.End());
}

TEST_F(JobdLogsTest, KeepsItWhenARankOpensItsStderrAnew) {
  TestJob job(Options(1, "echo one >&2; echo two > /dev/stderr; echo three >&2; exec >&-; exit 0"));
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kNone) << job.FirstCause().text;
  EXPECT_EQ(job.Err(0, 0), "one\ntwo\nthree\n");
  EXPECT_TRUE(job.End());
}

TEST_F(JobdLogsTest, HasAllThatWasWrittenBeforeADeathInItsCause) {
  TestJob job(Options(4,
                      "i=0; while [ $i -lt 300 ]; do echo line $i >&2; i=$((i+1)); done; "
                      "kill -9 $$"));
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  const Cause cause = job.FirstCause();
  EXPECT_EQ(cause.kind, CauseKind::kSignal);
  EXPECT_NE(cause.text.find("line 299"), std::string::npos) << cause.text;
  EXPECT_TRUE(job.End());
}

TEST_F(JobdLogsTest, SettlesWhatWasWrittenBefore) {
  LogDrain drain;
  const LogTarget target{.path = File("log"), .times_path = File("times/log"), .name = "x"};
  auto pipe = drain.Add(target, 65536);
  ASSERT_TRUE(pipe.ok());
  std::string expected;
  for (int i = 0; i < 100; ++i) {
    expected += "x\n";
    ASSERT_TRUE(WriteAll(pipe->get(), "x\n", 2).ok());
    ASSERT_TRUE(drain.Settle(std::chrono::seconds(20)));
    const auto text = ReadFile(target.path);
    ASSERT_EQ(text.ok() ? *text : "", expected);
  }
}

// Whoever finds a log opens its times, once.
TEST_F(JobdLogsTest, MakesTheTimesBeforeTheLog) {
  std::filesystem::create_directories(File("times"));
  const UniqueFd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  const int logs = inotify_add_watch(watch.get(), scene_.folder().c_str(), IN_CREATE);
  const int times = inotify_add_watch(watch.get(), File("times").c_str(), IN_CREATE);
  LogDrain drain;
  const LogTarget target{.path = File("log"), .times_path = File("times/log"), .name = "x"};
  ASSERT_TRUE(drain.Add(target, 65536).ok());
  alignas(inotify_event) char events[4096];
  const ssize_t size = read(watch.get(), events, sizeof events);
  std::vector<int> made;
  for (ssize_t at = 0; at < size;) {
    const auto* event = reinterpret_cast<const inotify_event*>(events + at);
    made.push_back(event->wd);
    at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
  }
  EXPECT_EQ(made, (std::vector<int>{times, logs}));
}

// The log is a pipe that is full: as a disk that hangs, until somebody reads.
TEST_F(JobdLogsTest, TellsTheLastExitOnceTheLogsAreWhole) {
  TestJob job(Options(1, "echo $$ > " + File("pid") + "; echo the last line"));
  const std::string log =
      LogFile(LogsOfJob(job.nodes[0]->arguments().logs, job.order.job), 0, 0, false);
  std::filesystem::create_directories(log.substr(0, log.rfind('/')));
  ASSERT_EQ(mkfifo(log.c_str(), 0600), 0);
  const UniqueFd reader(open(log.c_str(), O_RDWR | O_NONBLOCK | O_CLOEXEC));
  ASSERT_TRUE(reader.valid());
  const std::string filler(4096, '-');
  while (write(reader.get(), filler.data(), filler.size()) > 0) {
  }
  job.Start(0);
  std::string pid;
  ASSERT_TRUE(job.Until([&] {
    const auto said = ReadFile(File("pid"));
    if (said.ok() && said->ends_with('\n')) pid = said->substr(0, said->size() - 1);
    return !pid.empty() && access(("/proc/" + pid).c_str(), F_OK) != 0;
  }));
  // A second in which nothing may be told.
  const TimePoint until = RealClock().Now() + std::chrono::seconds(1);
  job.Until([&] { return RealClock().Now() > until; });
  EXPECT_EQ(job.nodes[0]->status.phase, MemberPhase::kRunning);
  std::string text(1 << 20, '\0');
  std::string all;
  ASSERT_TRUE(job.Until([&] {
    const ssize_t n = read(reader.get(), text.data(), text.size());
    if (n > 0) all.append(text, 0, static_cast<std::size_t>(n));
    return job.nodes[0]->status.phase == MemberPhase::kLeft;
  }));
  EXPECT_TRUE(all.ends_with("-the last line\n"));
  EXPECT_TRUE(job.End());
}

TEST_F(JobdLogsTest, SaysWhenWhatWasWritten) {
  const std::int64_t before = std::chrono::duration_cast<std::chrono::microseconds>(
                                  std::chrono::system_clock::now().time_since_epoch())
                                  .count();
  TestJob job(Options(1, "echo one; while [ ! -e " + File("go") +
                             " ]; do sleep 0.01; done; "
                             "echo two; while [ ! -e " +
                             File("end") + " ]; do sleep 0.01; done"));
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return job.Out(0, 0) == "one\n"; }));
  ASSERT_TRUE(WriteFileAtomically(File("go"), "").ok());
  ASSERT_TRUE(job.Until([&] { return job.Out(0, 0) == "one\ntwo\n"; }));
  const auto bytes = ReadFile(
      LogTimesFile(LogsOfJob(job.nodes[0]->arguments().logs, job.order.job), 0, "n0", 0, false));
  ASSERT_TRUE(bytes.ok());
  const std::vector<LogTime> times = DecodeLogTimes(*bytes);
  ASSERT_EQ(times.size(), 2U);
  EXPECT_EQ(times[0].offset, 0U);
  EXPECT_EQ(times[1].offset, 4U);
  EXPECT_GE(times[0].wall_us, before);
  EXPECT_GT(times[1].wall_us, times[0].wall_us);
  ASSERT_TRUE(WriteFileAtomically(File("end"), "").ok());
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_TRUE(job.End());
}

TEST_F(JobdLogsTest, RunsOnWithoutRoomForLogsAndTellsTheGap) {
  if (geteuid() != 0) GTEST_SKIP() << "skipped: needs root";
  const std::string logs = File("s/logs");
  TestJobOptions options =
      Options(2,
              "i=0; while [ $i -lt 5000 ]; do echo $RANK line $i of a program that prints a lot; "
              "i=$((i+1)); done; touch " +
                  File("full") + "$RANK; while [ ! -e " + File("room") +
                  " ]; do sleep 0.01; done; echo there is room; while [ ! -e " + File("end") +
                  " ]; do sleep 0.01; done");
  options.prefix = {"/usr/bin/unshare",
                    "-m",
                    "sh",
                    "-c",
                    "mount -t tmpfs -o size=256k none '" + logs +
                        "' && head -c 100k /dev/urandom > '" + logs + "/filler' && exec \"$@\"",
                    "sh"};
  TestJob job(options);
  job.Start(0);
  ASSERT_TRUE(job.Until([&] { return IsThere("full0") && IsThere("full1"); }))
      << job.FirstCause().text;
  EXPECT_TRUE(job.Until([&] { return Noted(job, "No space left on device"); }));
  const std::string root = "/proc/" + std::to_string(job.nodes[0]->pid()) + "/root";
  ASSERT_EQ(unlink((root + logs + "/filler").c_str()), 0);
  EXPECT_TRUE(job.Until([&] { return Noted(job, "can be written again"); }));
  ASSERT_TRUE(WriteFileAtomically(File("room"), "").ok());
  std::uint32_t written = 0;  // One rank may have taken all of the room before the other wrote.
  for (const std::uint32_t rank : {0U, 1U}) {
    ASSERT_TRUE(job.Until([&] { return Log(job, 0, rank).ends_with("there is room\n"); }));
    std::uint32_t whole = 0, lost = 0, after = 0;
    const std::string text = Log(job, 0, rank);
    for (std::size_t at = 0, end = 0; at < text.size(); at = end + 1) {
      end = text.find('\n', at);
      const std::string line = text.substr(at, end - at);
      const std::string expected = std::to_string(rank) + " line " + std::to_string(whole) +
                                   " of a program that prints a lot";
      if (line == expected) {
        ++whole;
      } else if (std::sscanf(line.c_str(), "[muster] %u lines could not be written", &lost) == 1) {
        EXPECT_NE(line.find("No space left on device"), std::string::npos) << line;
      } else if (line == "there is room") {
        ++after;
      } else {
        // The first lost line may have begun.
        EXPECT_TRUE(lost == 0 && expected.starts_with(line)) << line;
      }
    }
    EXPECT_GT(lost, 100U);
    EXPECT_EQ(whole + lost, 5000U);
    EXPECT_EQ(after, 1U);
    written += whole;
  }
  EXPECT_GT(written, 100U);
  ASSERT_TRUE(WriteFileAtomically(File("end"), "").ok());
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kNone) << job.FirstCause().text;
  EXPECT_TRUE(job.End());
}

// The file has the beginning of the last words, and room for no more.
TEST_F(JobdLogsTest, HasTheLastWordsThatAFullDiskDidNotTake) {
  if (geteuid() != 0) GTEST_SKIP() << "skipped: needs root";
  const std::string logs = File("s/logs");
  TestJobOptions options = Options(1,
                                   "echo Traceback '(most recent call last):' >&2; "
                                   "while [ ! -s " +
                                       logs +
                                       "/*/0/0.err ]; do sleep 0.01; done; "
                                       "head -c 1000k /dev/zero > " +
                                       logs +
                                       "/filler 2>/dev/null; "
                                       "i=0; while [ $i -lt 199 ]; do echo \"  File \\\"a.py\\\", "
                                       "line $i, in f\" >&2; i=$((i+1)); "
                                       "done; echo 'KeyError: 7' >&2; exit 3");
  options.prefix = {"/usr/bin/unshare",
                    "-m",
                    "sh",
                    "-c",
                    "mount -t tmpfs -o size=64k none '" + logs + "' && exec \"$@\"",
                    "sh"};
  TestJob job(options);
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  const Cause cause = job.FirstCause();
  EXPECT_EQ(cause.kind, CauseKind::kExit) << cause.text;
  std::string expected = "Traceback (most recent call last):\n";
  for (int i = 0; i < 199; ++i) {
    expected += "  File \"a.py\", line " + std::to_string(i) + ", in f\n";
  }
  EXPECT_EQ(cause.text, expected + "KeyError: 7");
  EXPECT_TRUE(job.End());
}

TEST_F(JobdLogsTest, StartsWithoutRoomForLogs) {
  if (geteuid() != 0) GTEST_SKIP() << "skipped: needs root";
  const std::string logs = File("s/logs");
  TestJobOptions options = Options(1, "echo into nothing; touch " + File("ran"));
  options.prefix = {"/usr/bin/unshare",
                    "-m",
                    "sh",
                    "-c",
                    "mount -t tmpfs -o nr_inodes=1 none '" + logs + "' && exec \"$@\"",
                    "sh"};
  TestJob job(options);
  job.Start(0);
  ASSERT_TRUE(job.UntilAll(MemberPhase::kLeft));
  EXPECT_EQ(job.FirstCause().kind, CauseKind::kNone) << job.FirstCause().text;
  EXPECT_TRUE(IsThere("ran"));
  EXPECT_TRUE(job.End());
}

}  // namespace
}  // namespace muster
