// Command lines of mpirun as public scripts and manuals have them.
#include "launcher/cli/mpirun_line.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "runtime/base/text.h"

namespace muster {
namespace {

using Words = std::vector<std::string>;

struct Outcome {
  RunCommand run;
  Words notes;
};

Outcome Take(const std::string& line) {
  const Parsed parsed = ParseMpirunLine(Split(line, ' '));
  EXPECT_TRUE(parsed.command.has_value()) << parsed.text;
  if (!parsed.command) return {};
  return {std::get<RunCommand>(*parsed.command), parsed.notes};
}

// The shape on a private cluster.
Shape ShapeFor(const std::string& line) {
  const auto shape = ShapeOf(*Take(line).run.wish, {});
  EXPECT_TRUE(shape.ok()) << shape.status().message();
  return shape.ok() ? *shape : Shape{.nodes = 0};
}

void ExpectComplaint(const std::string& line, const std::string& words) {
  const Parsed parsed = ParseMpirunLine(line.empty() ? Words() : Split(line, ' '));
  EXPECT_FALSE(parsed.command.has_value()) << line;
  EXPECT_EQ(parsed.exit, 2);
  EXPECT_NE(parsed.text.find(words), std::string::npos) << parsed.text;
}

bool Has(const Words& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

TEST(Mpirun, TakesRanksAndAProgram) {
  for (const char* flag : {"-np 4", "-n 4", "--np 4", "--n 4", "-c 4", "-np=4"}) {
    const auto [run, notes] = Take(std::string(flag) + " ./a.out -n 7 --hostfile x");
    EXPECT_EQ(run.wish->ranks, 4U) << flag;
    EXPECT_EQ(run.job.command, (Words{"./a.out", "-n", "7", "--hostfile", "x"}));
    EXPECT_EQ(run.job.launch.contracts, Words{"openmpi"});
    EXPECT_EQ(notes, Words());
  }
  EXPECT_EQ(ShapeFor("-np 4 ./a.out"), (Shape{.nodes = 1, .ranks_per_node = 4}));
}

TEST(Mpirun, UnderstandsHorovodsManual) {
  const auto [run, notes] = Take(
      "-np 16 -H server1:4,server2:4,server3:4,server4:4 -bind-to none -map-by slot "
      "-x NCCL_DEBUG=INFO -x LD_LIBRARY_PATH -x PATH -mca pml ob1 -mca btl ^openib "
      "python train.py");
  EXPECT_EQ(ShapeOf(*run.wish, {}).ok(), true);
  EXPECT_EQ(*ShapeOf(*run.wish, {}), (Shape{.nodes = 4, .ranks_per_node = 4}));
  EXPECT_EQ(run.job.environment,
            (Words{"NCCL_DEBUG=INFO", "OMPI_MCA_pml=ob1", "OMPI_MCA_btl=^openib"}));
  EXPECT_EQ(run.job.launch.bind, Bind::kNone);
  EXPECT_EQ(run.job.command, (Words{"python", "train.py"}));
  EXPECT_EQ(notes, (Words{"-H: only how many nodes and slots it names counts; muster picks the "
                          "nodes"}));
}

TEST(Mpirun, UnderstandsNcclTestsOnTwoNodes) {
  const auto [run, notes] = Take(
      "--allow-run-as-root --tag-output -np 16 -N 8 --hostfile hosts --bind-to numa "
      "--mca plm_rsh_args -p_2222 --mca oob_tcp_if_include eth0 --mca btl_tcp_if_include eth0 "
      "-x NCCL_IB_HCA=mlx5 /opt/all_reduce_perf -b 8 -e 8G -f 2 -g 1");
  EXPECT_EQ(run.wish->ranks, 16U);
  EXPECT_EQ(run.wish->ranks_per_node, 8U);
  EXPECT_EQ(run.wish->hostfile, "hosts");
  EXPECT_EQ(run.job.launch.bind, Bind::kNuma);
  EXPECT_EQ(run.job.environment, (Words{"OMPI_MCA_btl_tcp_if_include=eth0", "NCCL_IB_HCA=mlx5"}));
  EXPECT_TRUE(Has(notes,
                  "--mca plm_rsh_args, oob_tcp_if_include: muster starts the ranks itself, "
                  "without Open MPI's daemons; ignored"));
  EXPECT_TRUE(Has(notes, "--allow-run-as-root: muster asks nobody's leave for that; ignored"));
  EXPECT_EQ(notes.size(), 3U);
}

TEST(Mpirun, CountsRanksByNode) {
  for (const char* line :
       {"-np 8 -npernode 4 a", "-np 8 --npernode 4 a", "-n 8 -N 4 a", "-np 8 --map-by ppr:4:node a",
        "-np 8 --map-by ppr:4:node:PE=2 a", "-np 8 --ppr 4:node a", "-n 8 -ppn 4 a"}) {
    EXPECT_EQ(ShapeFor(line), (Shape{.nodes = 2, .ranks_per_node = 4})) << line;
  }
  EXPECT_EQ(Take("-np 8 --map-by ppr:4:node a").notes, Words());
  EXPECT_EQ(Take("-np 8 --map-by ppr:4:node:PE=2 a").notes,
            (Words{"--map-by ppr:4:node:PE=2: muster shares a node's cores out evenly among its "
                   "ranks"}));
  EXPECT_EQ(ShapeFor("-np 3 --pernode a"), (Shape{.nodes = 3, .ranks_per_node = 1}));
  EXPECT_EQ(ShapeFor("-npernode 4 a"), (Shape{.nodes = 1, .ranks_per_node = 4}));
  EXPECT_EQ(ShapeFor("-np 2 -npernode 4 a"), (Shape{.nodes = 1, .ranks_per_node = 2}));
}

TEST(Mpirun, RefusesAnUnevenShapeWithWhatWouldDo) {
  const auto shape = ShapeOf(*Take("-np 10 -npernode 4 a").run.wish, {});
  ASSERT_FALSE(shape.ok());
  EXPECT_NE(shape.status().message().find("-np 8 or -np 12"), std::string::npos)
      << shape.status().message();
}

TEST(Mpirun, FillsTheHostWhenNothingIsSaid) {
  const RunCommand run = Take("./a.out").run;
  EXPECT_EQ(run.fill, SlotFill::kCpus);
  EXPECT_EQ(*ShapeOf(*run.wish, {}), (Shape{.nodes = 1, .ranks_per_node = 0}));
}

TEST(Mpirun, MapsByNodeOverAsManyNodesAsThereAre) {
  const Outcome outcome = Take("-np 4 --map-by node a");
  EXPECT_TRUE(outcome.run.wish->spread);
  EXPECT_EQ(outcome.notes, Words());
  EXPECT_TRUE(Take("-np 4 -bynode a").run.wish->spread);
  EXPECT_TRUE(Take("-np 4 --map-by node:PE=2 a").run.wish->spread);
}

TEST(Mpirun, TellsWhichMappingsHaveNoMeaning) {
  for (const char* how : {"socket", "core", "socket:PE=4", "l3cache", "slot:OVERSUBSCRIBE",
                          ":OVERSUBSCRIBE", "numa:PE=2:SPAN"}) {
    const Outcome outcome = Take(std::string("-np 4 --map-by ") + how + " a");
    ASSERT_EQ(outcome.notes.size(), 1U) << how;
    EXPECT_EQ(outcome.notes[0].rfind(std::string("--map-by ") + how + ": ", 0), 0U);
  }
  ExpectComplaint("-np 4 --map-by sockt a", "found 'sockt'");
  ExpectComplaint("--map-by ppr:2:socket a", "say -np as well, or ppr:N:node");
  EXPECT_EQ(Take("-np 4 --map-by ppr:2:socket a").notes.size(), 1U);
  EXPECT_EQ(Take("-np 4 -npersocket 2 a").notes.size(), 1U);
  ExpectComplaint("--map-by ppr:x:node a", "found 'x:node'");
  ExpectComplaint("--map-by ppr a", "N:node");
}

TEST(Mpirun, BindsAsAsked) {
  EXPECT_EQ(Take("--bind-to core a").run.job.launch.bind, Bind::kCore);
  EXPECT_EQ(Take("--bind-to core:overload-allowed a").run.job.launch.bind, Bind::kCore);
  EXPECT_EQ(Take("-bind-to-core a").run.job.launch.bind, Bind::kCore);
  const Outcome outcome = Take("--bind-to socket a");
  EXPECT_EQ(outcome.run.job.launch.bind, Bind::kNuma);
  EXPECT_EQ(outcome.notes, (Words{"--bind-to socket: becomes --bind-to numa"}));
  EXPECT_EQ(Take("a").run.job.launch.bind, Bind::kAuto);
  ExpectComplaint("--bind-to cor a", "found 'cor'");
}

TEST(Mpirun, TagsTheOutput) {
  EXPECT_EQ(Take("--tag-output a").run.show.prefix, Prefix::kRank);
  EXPECT_EQ(Take("-timestamp-output a").run.show.prefix, Prefix::kFull);
  EXPECT_EQ(Take("a").run.show.prefix, Prefix::kAuto);
}

TEST(Mpirun, SetsTheRanksEnvironment) {
  EXPECT_EQ(Take("-x A=1 -x B -x C= -genv D 2 --mca btl tcp,self a").run.job.environment,
            (Words{"A=1", "C=", "D=2", "OMPI_MCA_btl=tcp,self"}));
  ExpectComplaint("-x =1 a", "takes NAME or NAME=VALUE; found '=1'");
  ExpectComplaint("-mca btl", "-mca needs a value: -mca NAME VALUE");
  ExpectComplaint("-x", "-x needs a value");
}

TEST(Mpirun, TakesWhatBecomesAnOptionOfRun) {
  const RunCommand run = Take("-wdir /tmp --timeout 60 --max-restarts 2 --cluster c --json a").run;
  EXPECT_EQ(run.job.workdir, "/tmp");
  EXPECT_EQ(run.job.time_limit_ms, 60'000U);
  EXPECT_EQ(run.job.max_restarts, 2U);
  EXPECT_EQ(run.common.cluster, "c");
  EXPECT_TRUE(run.common.json);
}

TEST(Mpirun, GivesStdinToRank0OrToNobody) {
  EXPECT_EQ(Take("-np 2 a").run.input, RunInput::kAuto);
  EXPECT_EQ(Take("-stdin 0 a").run.input, RunInput::kRank0);
  EXPECT_EQ(Take("--stdin none a").run.input, RunInput::kNone);
  ExpectComplaint("--stdin all a",
                  "--stdin: rank 0 alone can read stdin; allowed are 0 and none, found 'all'");
}

TEST(Mpirun, IgnoresWithAReasonWhatHasNoMeaningHere) {
  for (const char* flag :
       {"--oversubscribe", "-oversubscribe", "--report-bindings", "--output-filename out",
        "--prefix /opt/openmpi", "--display-map", "-v", "--rank-by core", "--use-hwthread-cpus",
        "--output TAG", "--display MAP", "--prtemca plm_base_verbose 5", "--launch-agent orted",
        "--rankfile r", "-s", "-cpus-per-proc 2", "--nolocal"}) {
    const Outcome outcome = Take(std::string(flag) + " -np 2 a");
    ASSERT_EQ(outcome.notes.size(), 1U) << flag;
    EXPECT_EQ(outcome.run.job.command, (Words{"a"})) << flag;
  }
  EXPECT_EQ(Take("-q --oversubscribe --report-bindings a").notes, Words());
}

TEST(Mpirun, RefusesSeveralProgramsAndWhatItCannotGive) {
  ExpectComplaint("-np 1 ./server : -np 3 ./client", "one program for all ranks");
  ExpectComplaint("--app jobs", "--app: muster starts one program for all ranks");
  ExpectComplaint("--tune params a", "give its parameters as --mca");
  ExpectComplaint("--xterm 0 a", "no debugger");
}

TEST(Mpirun, NamesTheNearestFlag) {
  ExpectComplaint("--hostfiles x a", "unknown flag '--hostfiles'; did you mean '--hostfile'?");
  ExpectComplaint("--zzzzzzzz a", "unknown flag '--zzzzzzzz'\n");
  ExpectComplaint("-np x a", "-np takes a number from 1 to 1000000; found 'x'");
  ExpectComplaint("-np 0 a", "found '0'");
  ExpectComplaint("-np 2", "no program");
  ExpectComplaint("", "no program");
}

TEST(Mpirun, NoFlagStandsTwiceInItsTable) {
  const std::string help = ParseMpirunLine({"--help"}).text;
  EXPECT_EQ(ParseMpirunLine({"--help"}).exit, 0);
  for (const char* word : {"-np, -n, -c N", "--map-by HOW", "Refused:", "--tune FILE",
                           "Example:\n  muster mpirun", "--json"}) {
    EXPECT_NE(help.find(word), std::string::npos) << word << "\n" << help;
  }
  for (const std::string& line : Split(help, '\n')) EXPECT_LE(line.size(), 100U) << line;
}

}  // namespace
}  // namespace muster
