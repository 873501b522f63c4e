#include "launcher/cli/command_line.h"

#include <gtest/gtest.h>

#include "runtime/base/signals.h"

#include "launcher/cli/duration.h"
#include "launcher/cli/request.h"

namespace muster {
namespace {

using std::chrono::milliseconds;

template <typename C>
C Get(const std::vector<std::string>& arguments) {
  const Parsed parsed = ParseCommandLine(arguments);
  EXPECT_TRUE(parsed.command.has_value()) << parsed.text;
  if (!parsed.command) return C();
  EXPECT_TRUE(std::holds_alternative<C>(*parsed.command));
  return std::get<C>(*parsed.command);
}

std::string Complaint(const std::vector<std::string>& arguments) {
  const Parsed parsed = ParseCommandLine(arguments);
  EXPECT_FALSE(parsed.command.has_value());
  EXPECT_EQ(parsed.exit, 2);
  return parsed.text;
}

TEST(Run, TakesTheProgramAsItIsAfterTheDashes) {
  const auto run = Get<RunCommand>({"run", "-N", "2", "--", "prog", "-N", "--", "--help", ""});
  EXPECT_EQ(run.job.nodes, 2U);
  EXPECT_EQ(run.job.command, (std::vector<std::string>{"prog", "-N", "--", "--help", ""}));
}

TEST(Run, NeverRestartsUnlessAsked) {
  EXPECT_EQ(Get<RunCommand>({"run", "--", "a"}).job.max_restarts, 0U);
  EXPECT_EQ(Get<RunCommand>({"run", "--max-restarts", "3", "--", "a"}).job.max_restarts, 3U);
}

TEST(Run, ReadsLengthsOfTimeWithUnits) {
  const auto run = Get<RunCommand>({"run", "--grace", "5s", "--time-limit=1h", "--", "a"});
  EXPECT_EQ(run.job.grace_ms, 5000U);
  EXPECT_EQ(run.job.time_limit_ms, 3'600'000U);
  EXPECT_NE(Complaint({"run", "--grace", "5", "--", "a"}).find("with a unit"), std::string::npos);
}

TEST(Run, AsksForAProgram) {
  EXPECT_NE(Complaint({"run", "-N", "1"}).find("no program; put it after --"), std::string::npos);
  EXPECT_NE(Complaint({"run", "--"}).find("no program"), std::string::npos);
  EXPECT_FALSE(Complaint({"run", "hostname"}).empty());
}

TEST(Run, RefusesNoNodes) {
  EXPECT_FALSE(Complaint({"run", "-N", "0", "--", "a"}).empty());
  EXPECT_FALSE(Complaint({"run", "-N", "-1", "--", "a"}).empty());
  EXPECT_FALSE(Complaint({"run", "-N", "x", "--", "a"}).empty());
}

TEST(Run, ReadsHowRanksAreStarted) {
  const auto run = Get<RunCommand>({"run",           "-N",
                                    "1:4",           "--bind",
                                    "core",          "--cuda-visible-devices",
                                    "rank",          "--env-contract",
                                    "slurm,openmpi", "--env",
                                    "A=1",           "--env",
                                    "B=x=y",         "--workdir",
                                    "sub",           "--ulimit",
                                    "core=64K",      "--prolog",
                                    "true",          "--",
                                    "prog"});
  EXPECT_EQ(run.job.nodes, 4U);
  EXPECT_EQ(run.job.min_nodes, 1U);
  EXPECT_EQ(run.job.launch, (LaunchOptions{.contracts = {"slurm", "openmpi"},
                                           .bind = Bind::kCore,
                                           .gpu_view = GpuView::kRank,
                                           .prolog = "true"}));
  const Program adjusted = Adjusted({.environment = {"A=0", "AB=2"},
                                     .workdir = "/home",
                                     .limits = {{.resource = 4, .soft = 0, .hard = 1}}},
                                    run.job);
  EXPECT_EQ(adjusted.workdir, "/home/sub");
  EXPECT_EQ(adjusted.environment, (std::vector<std::string>{"AB=2", "A=1", "B=x=y"}));
  EXPECT_EQ(adjusted.limits, (std::vector<ResourceLimit>{{4, 65536, 65536}}));
}

TEST(Run, SaysWhatAnOptionTakes) {
  const auto complaint = [](const std::string& option, const std::string& value) {
    return Complaint({"run", option, value, "--", "a"});
  };
  EXPECT_NE(complaint("-N", "4:1").find("MIN:MAX such as 1:4; found '4:1'"), std::string::npos);
  EXPECT_NE(complaint("--env", "PATH").find("takes NAME=VALUE; found 'PATH'"), std::string::npos);
  EXPECT_NE(complaint("--ulimit", "core").find("such as core=unlimited; found 'core'"),
            std::string::npos);
  EXPECT_NE(complaint("--checkpoint-resume", "newest").find("32 hexadecimal digits"),
            std::string::npos);
  EXPECT_NE(complaint("--checkpoint-resume", std::string(32, 'a')).find("--checkpoint-store"),
            std::string::npos);
  EXPECT_NE(complaint("--bind", "socket").find("socket"), std::string::npos);
  EXPECT_NE(complaint("--env-contract", "pbs").find("pbs"), std::string::npos);
}

TEST(Run, SettlesWhoReadsStdin) {
  EXPECT_EQ(Get<RunCommand>({"run", "--", "a"}).input, RunInput::kAuto);
  EXPECT_EQ(Get<RunCommand>({"run", "--stdin", "0", "--", "a"}).input, RunInput::kRank0);
  EXPECT_EQ(Get<RunCommand>({"run", "--stdin=none", "--", "a"}).input, RunInput::kNone);
  EXPECT_TRUE(Get<RunCommand>({"run", "--pty", "--", "a"}).job.launch.pty);
  EXPECT_NE(Complaint({"run", "--stdin", "1", "--", "a"}).find("1 not in"), std::string::npos);
  EXPECT_NE(Complaint({"run", "--stdin", "0", "--detach", "--", "a"}).find("leave out --detach"),
            std::string::npos);
  for (const char* other : {"--detach", "--json", "--stdin=none"}) {
    EXPECT_NE(
        Complaint({"run", "--pty", other, "--", "a"}).find("--pty gives rank 0 your terminal"),
        std::string::npos)
        << other;
  }
}

TEST(Mistakes, AnUnknownOptionIsNamedWithTheOneThatWasMeant) {
  EXPECT_EQ(Complaint({"run", "--restarts", "2", "--", "x"}),
            "muster run: unknown option --restarts; did you mean --max-restarts?\n"
            "muster run --help says more.\n");
  EXPECT_EQ(Complaint({"run", "--max-restart=2", "--", "x"}),
            "muster run: unknown option --max-restart; did you mean --max-restarts?\n"
            "muster run --help says more.\n");
  EXPECT_EQ(Complaint({"list", "--zzzzzzzz"}),
            "muster list: unknown option --zzzzzzzz\nmuster list --help says more.\n");
}

TEST(Mistakes, AProgramWithoutDashesIsToldWhereItGoes) {
  EXPECT_EQ(Complaint({"run", "-N", "2", "./x"}),
            "muster run: takes no './x'; a program and its arguments come after --, such as muster "
            "run -N 2 -- ./my_program --its-option\nmuster run --help says more.\n");
}

TEST(CommandLine, SuggestsTheVerbThatWasMeant) {
  EXPECT_NE(Complaint({"rum"}).find("unknown command 'rum'; did you mean 'run'?"),
            std::string::npos);
}

TEST(CommandLine, ListsItsVerbsWhenThereIsNone) {
  EXPECT_NE(Complaint({}).find("drain"), std::string::npos);
}

TEST(CommandLine, NamesTheOptionThatItDoesNotKnow) {
  EXPECT_NE(Complaint({"list", "--jsn"}).find("--jsn"), std::string::npos);
}

TEST(CommandLine, TakesAProgramInRunOnly) {
  EXPECT_NE(Complaint({"list", "--", "x"}).find("only `muster run`"), std::string::npos);
}

TEST(CommandLine, GivesEachVerbHelpWithAnExample) {
  for (const char* verb :
       {"run", "submit", "plan", "list", "show", "why", "wait", "logs", "events", "cancel",
        "signal", "nodes", "drain", "resume", "up", "down", "ckpt", "init"}) {
    const Parsed parsed = ParseCommandLine({verb, "--help"});
    EXPECT_EQ(parsed.exit, 0);
    EXPECT_NE(parsed.text.find("Example:\n  muster " + std::string(verb)), std::string::npos)
        << verb << parsed.text;
    EXPECT_NE(parsed.text.find("--json"), std::string::npos) << verb;
  }
}

TEST(Logs, SelectsARankAndAnAttempt) {
  const auto logs = Get<LogsCommand>({"logs", "-f", "--rank", "3", "--attempt", "1", "7"});
  EXPECT_TRUE(logs.follow);
  EXPECT_EQ(logs.show.ranks, std::vector<std::uint32_t>{3});
  EXPECT_EQ(logs.attempt, 1);
  EXPECT_EQ(logs.job, "7");
}

TEST(Signals, AreReadByNumberAndByName) {
  EXPECT_EQ(Get<SignalCommand>({"signal", "7", "USR1"}).signal, 10);
  EXPECT_EQ(Get<SignalCommand>({"signal", "7", "sigterm"}).signal, 15);
  EXPECT_EQ(Get<SignalCommand>({"signal", "7", "USR1"}).rank, -1);
  EXPECT_EQ(Get<SignalCommand>({"signal", "7", "USR1", "--rank", "3"}).rank, 3);
  EXPECT_EQ(ParseSignal("9"), 9);
  EXPECT_EQ(ParseSignal("0"), 0);
  EXPECT_EQ(ParseSignal("65"), 0);
  EXPECT_NE(Complaint({"signal", "7", "FOO"}).find("'FOO' is no signal"), std::string::npos);
  EXPECT_EQ(SignalName(9), "SIGKILL");
  EXPECT_EQ(SignalName(63), "signal 63");
}

TEST(Cancel, TakesAGraceOrNone) {
  EXPECT_EQ(Get<CancelCommand>({"cancel", "7"}).grace_ms, std::nullopt);
  EXPECT_EQ(Get<CancelCommand>({"cancel", "7", "--grace", "5m"}).grace_ms, 300'000U);
  EXPECT_NE(Complaint({"cancel", "7", "--grace", "5m", "--now"}).find("excludes"),
            std::string::npos);
}

TEST(Duration, IsReadWithUnitsOnly) {
  EXPECT_EQ(*ParseDuration("30s"), milliseconds(30'000));
  EXPECT_EQ(*ParseDuration("1h30m"), milliseconds(5'400'000));
  EXPECT_EQ(*ParseDuration("250ms"), milliseconds(250));
  EXPECT_EQ(*ParseDuration("0"), milliseconds(0));
  for (const char* wrong :
       {"", "30", "s", "1m1h", "1s1s", "-1s", "1.5h", "1 s", "9999999999999d"}) {
    EXPECT_FALSE(ParseDuration(wrong).ok()) << wrong;
  }
}

TEST(Duration, RoundTrips) {
  for (const std::int64_t ms : {1LL, 999LL, 1000LL, 61'001LL, 86'400'000LL, 90'061'001LL}) {
    EXPECT_EQ(*ParseDuration(FormatDuration(milliseconds(ms))), milliseconds(ms));
  }
}

}  // namespace
}  // namespace muster
