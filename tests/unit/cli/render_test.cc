#include "launcher/cli/render.h"

#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "launcher/cli/request.h"
#include "launcher/cli/verdict.h"

namespace muster {
namespace {

JobView Failed() {
  JobView job = {.id = 7, .name = "train", .user = "ann"};
  job.phase = JobView::Phase::kEnded;
  job.end = JobView::End::kFailed;
  job.exit_code = 3;
  job.attempt = 0;
  job.cause = {.kind = CauseKind::kExit,
               .rank = 5,
               .node = "n1",
               .slot = 1,
               .code = 3,
               .text = "Traceback\nValueError: \xff\n"};
  job.argv = {"/bin/prog", "a b"};
  job.members = {{.node = "n0", .first_rank = 0, .slots = {0, 1, 2, 3}},
                 {.node = "n1", .first_rank = 4, .slots = {0, 1, 2, 3}}};
  return job;
}

TEST(EndReport, EndsWithTheVerdictInOneLine) {
  JobView job = Failed();
  job.cause.wall_us = 1'763'802'163'512'999;
  EXPECT_EQ(EndReport(job, 12'340),
            "muster: the last lines of stderr of rank 5 on n1 (slot 1):\n"
            "    Traceback\n"
            "    ValueError: \xff\n"
            "muster: job 7 failed: rank 5 on n1 (slot 1) left with exit status 3 at "
            "2025-11-22T09:02:43.512Z, 12.3 s after the start; the other 7 ranks were stopped "
            "because of it\n");
}

TEST(EndReport, NamesTheSignal) {
  JobView job = Failed();
  job.cause = {.kind = CauseKind::kSignal, .rank = 0, .node = "n0", .code = 11};
  job.members = {{.node = "n0", .first_rank = 0, .slots = {0}}};
  EXPECT_EQ(EndReport(job, 0),
            "muster: job 7 failed: rank 0 on n0 (slot 0) was killed by SIGSEGV, 0.0 s after the "
            "start\n");
}

TEST(ResumeAdvice, NamesTheRunOfAJobThatHasCheckpointsAndEndedTooSoon) {
  JobView job = Failed();
  job.run_id = "57e3d1be7e9e4bf1179558a22aaa81cf";
  EXPECT_EQ(ResumeAdvice(job, {.store = "/nfs/a"}),
            "muster: --checkpoint-resume 57e3d1be7e9e4bf1179558a22aaa81cf goes on from what is "
            "committed in /nfs/a\n");
  EXPECT_EQ(ResumeAdvice(job, {}), "");
  EXPECT_EQ(ResumeAdvice(job, {.store = "/nfs/a", .resume = job.run_id}), "");
  for (const CauseKind lost : {CauseKind::kStore, CauseKind::kSuperseded}) {
    JobView other = job;
    other.cause.kind = lost;
    EXPECT_EQ(ResumeAdvice(other, {.store = "/nfs/a"}), "");
  }
  job.end = JobView::End::kSucceeded;
  EXPECT_EQ(ResumeAdvice(job, {.store = "/nfs/a"}), "");
}

TEST(RestartReport, NamesWhoFailedAndHowManyAreLeft) {
  JobView job = Failed();
  job.restarts = 1;
  job.max_restarts = 3;
  EXPECT_EQ(RestartReport(job),
            "muster: rank 5 on n1 (slot 1) left with exit status 3; job 7 starts again (restart 1 "
            "of 3)\n");
  const auto json = nlohmann::json::parse(RestartJson(job));
  EXPECT_EQ(json["rank"], 5);
  EXPECT_EQ(json["restart"], 1);
  EXPECT_EQ(json["cause"]["kind"], "exit");
}

TEST(EndReport, TellsOutOfMemoryWithWhatWasUsed) {
  JobView job = Failed();
  job.cause = {.kind = CauseKind::kOutOfMemory, .rank = 5, .node = "n1", .slot = 1, .code = 9};
  job.cause.used_bytes = 61ULL << 30;
  job.cause.limit_bytes = 64ULL << 30;
  EXPECT_EQ(EndReport(job),
            "muster: job 7 failed: out of memory: rank 5 on n1 (slot 1) used 61 of 64 GiB and was "
            "killed by SIGKILL; the other 7 ranks were stopped because of it\n");
  job.cause.used_bytes = 0;
  EXPECT_NE(EndReport(job).find("out of memory: rank 5 on n1 (slot 1) was killed by SIGKILL"),
            std::string::npos);
}

TEST(EndReport, ShowsATracebackWholeWithItsBlankLines) {
  JobView job = Failed();
  job.cause.text = "Traceback (most recent call last):\n  File \"a.py\"\nA: 1\n\nB: 2\n\n";
  EXPECT_EQ(EndReport(job).find("    Traceback (most recent call last):\n      File \"a.py\"\n"
                                "    A: 1\n\n    B: 2\nmuster: job 7 failed"),
            std::string("muster: the last lines of stderr of rank 5 on n1 (slot 1):\n").size());
}

TEST(EndReport, SaysSoWhenNobodyWasFoundWhoFailedFirst) {
  JobView job = Failed();
  job.cause.consequence = true;
  EXPECT_NE(EndReport(job).find("left with exit status 3 over a lost connection (no rank is known "
                                "to have failed before); the other 7 ranks"),
            std::string::npos);
}

TEST(EndReport, IsSilentAboutSuccess) {
  JobView job = Failed();
  job.end = JobView::End::kSucceeded;
  EXPECT_EQ(EndReport(job, 1000), "");
}

TEST(EndJson, TellsAProgramsTwoFromOurs) {
  JobView job = Failed();
  job.exit_code = 2;
  const auto program = nlohmann::json::parse(EndJson(job, 2));
  EXPECT_EQ(program["exit"], 2);
  EXPECT_EQ(program["source"], "program");
  EXPECT_EQ(program["rank"], 5);
  EXPECT_EQ(program["cause"]["kind"], "exit");
  const auto ours = nlohmann::json::parse(FailureJson(Status(Code::kInvalid, "bad key"), 2));
  EXPECT_EQ(ours["exit"], 2);
  EXPECT_EQ(ours["source"], "muster");
  EXPECT_TRUE(ours["rank"].is_null());
}

TEST(EndJson, IsOneLine) {
  const std::string json = EndJson(Failed(), 3);
  EXPECT_EQ(json.find('\n'), json.size() - 1);
}

TEST(CauseSentence, SaysSomethingForEveryKind) {
  for (auto kind = static_cast<int>(CauseKind::kExit);
       kind <= static_cast<int>(CauseKind::kClientLost); ++kind) {
    EXPECT_FALSE(CauseSentence({.kind = static_cast<CauseKind>(kind)}).empty()) << kind;
  }
  EXPECT_EQ(CauseSentence({}), "");
}

TEST(Tables, HaveARowForEach) {
  const std::string jobs = JobTable({Failed()});
  EXPECT_NE(jobs.find("train"), std::string::npos);
  EXPECT_NE(jobs.find("/bin/prog a b"), std::string::npos);
  const std::string nodes = NodeTable({{.name = "n0", .slots = 8, .used = 3, .drained = "fan"}});
  EXPECT_NE(nodes.find("drained (fan)"), std::string::npos);
}

TEST(Tables, ShowARangeOfNodes) {
  JobView job = Failed();
  job.nodes = 4;
  EXPECT_NE(JobPage(job).find("nodes     4\n"), std::string::npos) << JobPage(job);
  for (const std::uint32_t least : {0U, 4U}) {
    job.min_nodes = least;
    EXPECT_EQ(JobTable({job}).find(":4"), std::string::npos);
    EXPECT_EQ(nlohmann::json::parse(JobJson(job))["min_nodes"], 4);
  }
  job.min_nodes = 1;
  EXPECT_NE(JobPage(job).find("nodes     1:4\n"), std::string::npos) << JobPage(job);
  EXPECT_NE(JobTable({job}).find("  1:4 "), std::string::npos) << JobTable({job});
  const auto json = nlohmann::json::parse(JobJson(job));
  EXPECT_EQ(json["nodes"], 4);
  EXPECT_EQ(json["min_nodes"], 1);
}

TEST(Progress, TellsThePhaseOfRank0AndItsTimeInEach) {
  JobView job = Failed();
  job.progress = {.step = 7};
  EXPECT_EQ(JobPage(job).find("phase"), std::string::npos);
  EXPECT_FALSE(nlohmann::json::parse(JobJson(job))["progress"].contains("phase"));
  job.progress->phase = "comm";
  job.progress->phases = {{"data", 40'000},
                          {"comm", 3'000'000},
                          {"forward", 6'900'000},
                          {"stopping", 60'000},
                          {"saving", 0}};
  EXPECT_NE(JobPage(job).find("comm (rank 0)\n"), std::string::npos) << JobPage(job);
  EXPECT_NE(JobPage(job).find("forward 69%, comm 30%, stopping 1%\n"), std::string::npos)
      << JobPage(job);
  const auto progress = nlohmann::json::parse(JobJson(job))["progress"];
  EXPECT_EQ(progress["phase"], "comm");
  EXPECT_EQ(progress["phase_seconds"]["data"], 0.04);
  job.progress->phases = {{"data", 0}};
  EXPECT_EQ(JobPage(job).find("time in"), std::string::npos);
}

TEST(Json, IsWellFormedForBytesThatAreNoText) {
  EXPECT_TRUE(nlohmann::json::accept(JobJson(Failed())));
  EXPECT_TRUE(nlohmann::json::accept(JobsJson({Failed()})));
  EXPECT_TRUE(nlohmann::json::accept(NodesJson({{.name = "n0"}})));
}

TEST(Json, HasThePointsOfTheCurve) {
  EXPECT_FALSE(nlohmann::json::parse(JobJson(Failed())).contains("curve"));
  const auto curve = nlohmann::json::parse(JobJson(
      Failed(), {{.attempt = 0, .point = {.step = 4, .loss = 2.5, .tokens = 9, .at_ms = 77}},
                 {.attempt = 1, .point = {.step = 5, .loss = -HUGE_VAL}},
                 {.attempt = 1, .point = {.step = 6, .loss = HUGE_VAL}}}))["curve"];
  EXPECT_EQ(curve[0], nlohmann::json::parse(
                          R"({"attempt": 0, "step": 4, "loss": 2.5, "tokens": 9, "at_ms": 77})"));
  EXPECT_FALSE(curve[1].contains("loss"));  // None was told.
  EXPECT_TRUE(curve[2]["loss"].is_null());  // It is no finite number.
}

TEST(ClusterDescription, RoundTrips) {
  const ClusterDescription cluster = {.name = "local",
                                      .short_id = "0badcafe",
                                      .runtime = "/tmp/muster-0/0badcafe",
                                      .is_private = true,
                                      .nodes = 2,
                                      .slots = 8,
                                      .keeper_pid = 77,
                                      .keeper_start = 1234567,
                                      .started_us = 42};
  const auto back = ParseClusterDescription(ToJson(cluster));
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, cluster);
}

TEST(ClusterDescription, RefusesWhatIsNone) {
  for (const char* text : {"", "{}", "[]", "{\"name\": 7}", "not json"}) {
    EXPECT_FALSE(ParseClusterDescription(text).ok()) << text;
  }
}

TEST(SocketPaths, AreCheckedBeforeAnythingStarts) {
  EXPECT_TRUE(CheckSocketPaths({.runtime = "/tmp/muster-0/0badcafe"}, "n0").ok());
  const Status status = CheckSocketPaths({.runtime = "/tmp/" + std::string(90, 'x')}, "n0");
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_NE(status.message().find("at most 100 are allowed; set XDG_RUNTIME_DIR"),
            std::string::npos);
}

TEST(JobName, IsTheFilesOrTheProgramsOwn) {
  EXPECT_EQ(JobName({.name = "x", .command = {"/bin/true"}}), "x");
  EXPECT_EQ(JobName({.command = {"/bin/true"}}), "true");
  EXPECT_EQ(JobName({.command = {"./a b"}}), "job");
}

TEST(Fit, SaysHowManyNodesFit) {
  const std::vector<ClusterNode> nodes = {{.name = "n0", .slots = 8, .used = 8},
                                          {.name = "n1", .slots = 8}};
  const Fit two = FitOf({.nodes = 2, .ranks_per_node = 4}, nodes);
  EXPECT_FALSE(two.now);
  EXPECT_TRUE(two.ever);
  EXPECT_EQ(two.sentence, "needs 2 nodes with 4 slots each; 1 of 2 fit now, 2 could when idle");
  EXPECT_FALSE(FitOf({.nodes = 3}, nodes).ever);
  EXPECT_TRUE(FitOf({.nodes = 1}, nodes).now);
}

TEST(Request, CarriesTheRestartPolicy) {
  const JobFile file = {
      .command = {"a"}, .max_restarts = 2, .restart_on = {"signal"}, .never = {2}};
  const JobRequest request = RequestOf(file, {});
  EXPECT_EQ(request.restart.max, 2U);
  EXPECT_TRUE(request.restart.on_signal);
  EXPECT_FALSE(request.restart.on_exit);
  EXPECT_FALSE(request.restart.on_node_lost);
  EXPECT_EQ(request.restart.never, (std::vector<std::int32_t>{2}));
}

}  // namespace
}  // namespace muster
