// Command lines of torchrun as public scripts and manuals have them.
#include "launcher/cli/torchrun_line.h"

#include <gtest/gtest.h>

#include "runtime/base/text.h"

namespace muster {
namespace {

using Words = std::vector<std::string>;

struct Outcome {
  RunCommand run;
  Words notes;
};

// `line`: as typed, without quotes.
Outcome Take(const std::string& line, const Words& environment = {}) {
  const Parsed parsed = ParseTorchrunLine(Split(line, ' '), environment);
  EXPECT_TRUE(parsed.command.has_value()) << parsed.text;
  if (!parsed.command) return {};
  return {std::get<RunCommand>(*parsed.command), parsed.notes};
}

std::string Complaint(const std::string& line) {
  const Parsed parsed = ParseTorchrunLine(line.empty() ? Words() : Split(line, ' '));
  EXPECT_FALSE(parsed.command.has_value());
  EXPECT_EQ(parsed.exit, 2);
  return parsed.text;
}

void ExpectComplaint(const std::string& line, const std::string& words) {
  EXPECT_NE(Complaint(line).find(words), std::string::npos) << Complaint(line);
}

TEST(Torchrun, RunsASingleNodeAsItsManualShows) {
  const auto [run, notes] =
      Take("--standalone --nnodes=1 --nproc-per-node=4 train.py --arg1 -x --nnodes 7 -- --help");
  EXPECT_EQ(run.job.nodes, 1U);
  EXPECT_EQ(run.job.ranks_per_node, 4U);
  EXPECT_EQ(run.job.command,
            (Words{"python3", "-u", "train.py", "--arg1", "-x", "--nnodes", "7", "--", "--help"}));
  EXPECT_TRUE(run.python);
  EXPECT_EQ(run.job.name, "train.py");
  EXPECT_EQ(notes, (Words{"--standalone: muster needs no rendezvous; ignored"}));
}

TEST(Torchrun, TellsOneLineForFlagsOfOneReason) {
  const auto [run, notes] = Take(
      "--nnodes=2 --nproc_per_node=8 --rdzv_id=456 --rdzv_backend=c10d "
      "--rdzv_endpoint=node0.example.com:29400 --max_restarts=3 train_script.py");
  EXPECT_EQ(run.job.nodes, 2U);
  EXPECT_EQ(run.job.ranks_per_node, 8U);
  EXPECT_EQ(run.job.max_restarts, 3U);
  EXPECT_EQ(notes, (Words{"--rdzv_id, --rdzv_backend, --rdzv_endpoint: muster needs no "
                          "rendezvous; ignored"}));
}

TEST(Torchrun, TakesAStaticMasterAndTheFirstNodesRank) {
  const auto [run, notes] = Take(
      "--nproc_per_node 8 --nnodes 2 --node_rank 0 --master_addr 10.0.0.1 --master_port 29500 "
      "pretrain_gpt.py --num-layers 24");
  EXPECT_EQ(run.job.nodes, 2U);
  EXPECT_EQ(notes.size(), 2U);
  EXPECT_EQ(notes[0], "--node_rank: one command starts the ranks of every node; ignored");
  EXPECT_EQ(notes[1],
            "--master_addr, --master_port: muster picks an address that all nodes reach, and a "
            "free port; ignored");
}

TEST(Torchrun, RefusesToBeStartedOncePerNode) {
  ExpectComplaint("--nnodes 2 --node_rank 1 --master_addr a train.py",
                  "--node_rank 1: one command starts the ranks of every node");
}

TEST(Torchrun, HasItsOwnDefaults) {
  const RunCommand run = Take("train.py").run;
  EXPECT_EQ(run.job.nodes, 1U);
  EXPECT_EQ(run.job.ranks_per_node, 1U);
  EXPECT_EQ(run.job.max_restarts, 0U);
  EXPECT_TRUE(run.job.never.empty());
}

TEST(Torchrun, FillsEverySlot) {
  EXPECT_EQ(Take("--nproc-per-node=gpu a.py").run.fill, SlotFill::kGpus);
  EXPECT_EQ(Take("--nproc-per-node cpu a.py").run.fill, SlotFill::kCpus);
  const RunCommand run = Take("--nproc_per_node auto a.py").run;
  EXPECT_EQ(run.fill, SlotFill::kGpusOrCpus);
  EXPECT_EQ(run.job.ranks_per_node, 0U);
}

TEST(Torchrun, TakesARangeOfNodes) {
  const RunCommand run = Take("--nnodes=1:4 --nproc-per-node=2 --max-restarts=3 a.py").run;
  EXPECT_EQ(run.job.min_nodes, 1U);
  EXPECT_EQ(run.job.nodes, 4U);
  EXPECT_EQ(Take("--nnodes=2:2 a.py").run.job.min_nodes, 0U);
  for (const char* wrong : {"--nnodes=4:1", "--nnodes=0", "--nnodes=", "--nnodes=1:2:3",
                            "--nnodes=two", "--nnodes=-1"}) {
    ExpectComplaint(std::string(wrong) + " a.py", "takes a number of nodes");
  }
}

TEST(Torchrun, RunsModules) {
  EXPECT_EQ(Take("--nproc_per_node=2 -m torchbenchmark.run --model resnet").run.job.command,
            (Words{"python3", "-u", "-m", "torchbenchmark.run", "--model", "resnet"}));
  EXPECT_EQ(Take("--module pkg.train").run.job.command,
            (Words{"python3", "-u", "-m", "pkg.train"}));
}

TEST(Torchrun, RunsProgramsThatAreNotPython) {
  const RunCommand run = Take("--no-python --nproc-per-node 2 /bin/bash -c hostname").run;
  EXPECT_EQ(run.job.command, (Words{"/bin/bash", "-c", "hostname"}));
  EXPECT_FALSE(run.python);
  ExpectComplaint("--no_python -m pkg", "--module and --no-python do not go together");
  EXPECT_TRUE(Take("--no-python --run-path /a/train.py").run.python);
}

TEST(Torchrun, ReadsShortFlagsWithTheirValueAttached) {
  const std::string why =
      "each rank has log files on its node, and they are streamed as well (muster logs JOB)";
  EXPECT_EQ(Take("-r3 -t 0:1,1:2 --log-dir /tmp/logs a.py").notes,
            (Words{"-r, -t, --log-dir: " + why + "; ignored"}));
  EXPECT_EQ(Take("--redirects=3 --tee 3 a.py").notes,
            (Words{"--redirects, --tee: " + why + "; ignored"}));
}

TEST(Torchrun, StreamsTheLocalRanksAskedFor) {
  EXPECT_EQ(Take("--nproc-per-node 4 --local-ranks-filter=0,3 a.py").run.local_ranks,
            (std::vector<std::uint32_t>{0, 3}));
  ExpectComplaint("--nproc-per-node 4 --local_ranks_filter 4 a.py", "no local rank 4 among 4");
  ExpectComplaint("--local-ranks-filter 0,x a.py", "found 'x'");
}

TEST(Torchrun, TakesBeginningsThatOnlyOneFlagHas) {
  EXPECT_EQ(Take("--nproc=4 --nnode 2 a.py").run.job.ranks_per_node, 4U);
  ExpectComplaint("--rdzv=1 a.py", "--rdzv may be --rdzv-backend, --rdzv-endpoint");
}

TEST(Torchrun, TakesTheScriptAfterDashesToo) {
  EXPECT_EQ(Take("--nnodes 2 -- train.py -- x").run.job.command,
            (Words{"python3", "-u", "train.py", "--", "x"}));
}

TEST(Torchrun, NamesTheNearestFlag) {
  ExpectComplaint("--nprocs-per-node=8 a.py",
                  "unknown flag '--nprocs-per-node'; did you mean '--nproc-per-node'?");
  ExpectComplaint("--nprocs 8 a.py", "did you mean '--nproc-per-node'?");
  ExpectComplaint("--frobnicate a.py", "unknown flag '--frobnicate'\n");
}

TEST(Torchrun, AsksForAScriptAndForValues) {
  ExpectComplaint("--nproc-per-node 2", "no script");
  ExpectComplaint("", "no script");
  ExpectComplaint("--nnodes", "--nnodes needs a value");
  ExpectComplaint("--rdzv-id --nnodes 2 a.py", "--rdzv-id needs a value: --rdzv-id ID; found");
  ExpectComplaint("--standalone=yes a.py", "--standalone takes no value");
  ExpectComplaint("--nproc-per-node=many a.py", "takes a number from 1 to 100000, auto, gpu or");
  ExpectComplaint("--max-restarts=x a.py", "found 'x'");
}

TEST(Torchrun, IgnoresWithAReasonWhatHasNoMeaningHere) {
  for (const char* flag :
       {"--rdzv-conf timeout=30,join_timeout=600", "--local-addr 10.0.0.1", "--start-method fork",
        "--monitor-interval 0.1", "--use-env", "--signals-to-handle SIGTERM,SIGUSR1",
        "--event-log-handler null", "--logs-specs default"}) {
    const Outcome outcome = Take(std::string(flag) + " a.py");
    ASSERT_EQ(outcome.notes.size(), 1U) << flag;
    EXPECT_NE(outcome.notes[0].find("; ignored"), std::string::npos);
    EXPECT_EQ(outcome.run.job.command, (Words{"python3", "-u", "a.py"})) << flag;
  }
}

TEST(Torchrun, BindsAndNamesTheRole) {
  const RunCommand run = Take("--numa-binding node --role trainer a.py").run;
  EXPECT_EQ(run.job.launch.bind, Bind::kNuma);
  EXPECT_EQ(run.job.environment, (Words{"ROLE_NAME=trainer"}));
  EXPECT_EQ(Take("--numa_binding=exclusive a.py").run.job.launch.bind, Bind::kCore);
  ExpectComplaint("--numa-binding=never a.py", "found 'never'");
}

TEST(Torchrun, RefusesWhatItCannotGive) {
  ExpectComplaint("--virtual-local-rank a.py", "LOCAL_RANK counts the ranks of a node");
}

// As operators of Kubernetes start it.
TEST(Torchrun, TakesWhatIsLeftOutFromTheEnvironment) {
  const Words environment = {
      "PET_NNODES=1:4",        "PET_NPROC_PER_NODE=8",     "PET_MAX_RESTARTS=3",
      "PET_RDZV_BACKEND=c10d", "PET_RDZV_ENDPOINT=h:2950", "PET_NODE_RANK=0",
      "PET_MODULE=1",          "PET_NO_PYTHON=0",          "PET_CLUSTER=none of its",
      "PET_NNODES_MORE=7"};
  const auto [run, notes] = Take("pkg.train --nnodes 9", environment);
  EXPECT_EQ(run.job.nodes, 4U);
  EXPECT_EQ(run.job.min_nodes, 1U);
  EXPECT_EQ(run.job.ranks_per_node, 8U);
  EXPECT_EQ(run.job.max_restarts, 3U);
  EXPECT_EQ(run.common.cluster, "");
  EXPECT_EQ(run.job.command, (Words{"python3", "-u", "-m", "pkg.train", "--nnodes", "9"}));
  ASSERT_EQ(notes.size(), 2U);
  EXPECT_EQ(notes[0], "PET_RDZV_BACKEND, PET_RDZV_ENDPOINT: muster needs no rendezvous; ignored");
}

TEST(Torchrun, TakesAFlagBeforeItsVariable) {
  const Words environment = {"PET_NNODES=x", "PET_ROLE=outer", "PET_STANDALONE=1"};
  const auto [run, notes] =
      Take("--nnodes 2 --role inner --standalone --nproc_per_node=2 a.py", environment);
  EXPECT_EQ(run.job.nodes, 2U);
  EXPECT_EQ(run.job.environment, (Words{"ROLE_NAME=inner"}));
  EXPECT_EQ(notes, (Words{"--standalone: muster needs no rendezvous; ignored"}));
}

TEST(Torchrun, NamesTheVariableThatMakesNoSense) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"PET_NNODES=many", "PET_NNODES takes a number of nodes from 1 to 100000, or MIN:MAX"},
      {"PET_NODE_RANK=1", "PET_NODE_RANK 1: one command starts the ranks of every node"},
      {"PET_NO_PYTHON=yes", "PET_NO_PYTHON takes 0 or 1; found 'yes'"},
      {"PET_VIRTUAL_LOCAL_RANK=1", "PET_VIRTUAL_LOCAL_RANK: LOCAL_RANK counts the ranks"}};
  for (const auto& [entry, words] : cases) {
    const Parsed parsed = ParseTorchrunLine({"a.py"}, {entry});
    EXPECT_EQ(parsed.exit, 2) << entry;
    EXPECT_NE(parsed.text.find(words), std::string::npos) << parsed.text;
  }
}

TEST(Torchrun, ListsItsFlags) {
  const Parsed parsed = ParseTorchrunLine({"--help"});
  EXPECT_EQ(parsed.exit, 0);
  for (const char* word : {"--nnodes N|MIN:MAX", "--rdzv-endpoint", "Without a meaning here",
                           "Example:\n  muster torchrun", "--json"}) {
    EXPECT_NE(parsed.text.find(word), std::string::npos) << word << "\n" << parsed.text;
  }
  for (const std::string& line : Split(parsed.text, '\n')) EXPECT_LE(line.size(), 100U) << line;
}

TEST(Torchrun, KnowsWhereItsClusterIs) {
  const RunCommand run = Take("--cluster /srv/c --json a.py").run;
  EXPECT_EQ(run.common.cluster, "/srv/c");
  EXPECT_TRUE(run.common.json);
}

}  // namespace
}  // namespace muster
