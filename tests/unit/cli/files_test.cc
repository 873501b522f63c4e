#include <gtest/gtest.h>

#include "launcher/cli/cluster_file.h"
#include "launcher/cli/job_file.h"
#include "runtime/base/file_posix.h"

namespace muster {
namespace {

std::string configs;

std::string JobComplaint(const std::string& text) {
  const auto job = ParseJobFile("job.yaml", text);
  EXPECT_FALSE(job.ok());
  EXPECT_EQ(job.status().code(), Code::kInvalid);
  return job.status().message();
}

std::string ClusterComplaint(const std::string& text) {
  const auto cluster = ParseClusterFile("cluster.yaml", text);
  EXPECT_FALSE(cluster.ok());
  return cluster.status().message();
}

TEST(JobFile, NeedsACommandOnly) {
  const auto job = ParseJobFile("job.yaml", "command: [/bin/true]\n");
  ASSERT_TRUE(job.ok()) << job.status().message();
  JobFile expected;
  expected.command = {"/bin/true"};
  EXPECT_EQ(*job, expected);
}

TEST(JobFile, SampleHoldsTheDefaults) {
  const auto text = ReadFile(configs + "/job.yaml");
  ASSERT_TRUE(text.ok());
  const auto job = ParseJobFile("job.yaml", *text);
  ASSERT_TRUE(job.ok()) << job.status().message();
  JobFile expected;
  expected.name = "hello";
  expected.command = {"/bin/echo", "hello"};
  EXPECT_EQ(*job, expected);
}

TEST(JobFile, SampleShowsEveryKeyThatIsKnown) {
  const std::string text = *ReadFile(configs + "/job.yaml");
  const std::string known = JobComplaint("command: [a]\nzzzzzzzz: 1\n");
  for (const char* key : {"name", "nodes", "ranks_per_node", "command", "script", "env", "workdir",
                          "time_limit", "grace", "restart", "checkpoint", "env_contract", "bind",
                          "cuda_visible_devices", "prolog", "epilog", "limits"}) {
    EXPECT_NE(text.find(std::string(key) + ":"), std::string::npos) << key;
    EXPECT_NE(known.find(key), std::string::npos) << key;
  }
}

TEST(JobFile, ReadsEveryKey) {
  const auto job = ParseJobFile("job.yaml", R"(
name: train-7b
nodes: 4
ranks_per_node: 8
script: |
  echo one
  echo two
env: {A: 1, B: "x y", C: ""}
workdir: /srv
time_limit: 2h
grace: 90s
restart: {max: 7, on: [signal], never: [2, 93]}
checkpoint: {store: /nfs/ckpt, keep: 5, required: false, deadline: 30s, limit_mb_per_s: 250,
             local: /nvme, resume: 57e3d1be7e9e4bf1179558a22aaa81cf}
env_contract: [slurm, horovod]
bind: numa
cuda_visible_devices: rank
prolog: mount /data
epilog: umount /data
limits: {core: unlimited, memlock: 2G}
)");
  ASSERT_TRUE(job.ok()) << job.status().message();
  EXPECT_EQ(job->command, (std::vector<std::string>{"/bin/sh", "-c", "echo one\necho two\n"}));
  EXPECT_EQ(job->environment, (std::vector<std::string>{"A=1", "B=x y", "C="}));
  EXPECT_EQ(job->time_limit_ms, 7'200'000U);
  EXPECT_EQ(job->grace_ms, 90'000U);
  EXPECT_EQ(job->max_restarts, 7U);
  EXPECT_EQ(job->restart_on, (std::vector<std::string>{"signal"}));
  EXPECT_EQ(job->never, (std::vector<std::int32_t>{2, 93}));
  EXPECT_EQ(job->checkpoint, (CheckpointPolicy{.store = "/nfs/ckpt",
                                               .keep = 5,
                                               .required = false,
                                               .deadline_ms = 30'000,
                                               .bytes_per_s = 250'000'000,
                                               .local = "/nvme",
                                               .resume = "57e3d1be7e9e4bf1179558a22aaa81cf"}));
  EXPECT_EQ(job->launch, (LaunchOptions{.contracts = {"slurm", "horovod"},
                                        .bind = Bind::kNuma,
                                        .gpu_view = GpuView::kRank,
                                        .prolog = "mount /data",
                                        .epilog = "umount /data"}));
  EXPECT_EQ(job->limits,
            (std::vector<ResourceLimit>{{4, UINT64_MAX, UINT64_MAX}, {8, 2ULL << 30, 2ULL << 30}}));
}

TEST(JobFile, ReadsARangeOfNodes) {
  const auto job = ParseJobFile("job.yaml", "command: [a]\nnodes: {min: 2, max: 4}\n");
  ASSERT_TRUE(job.ok()) << job.status().message();
  EXPECT_EQ(job->nodes, 4U);
  EXPECT_EQ(job->min_nodes, 2U);
  EXPECT_NE(JobComplaint("command: [a]\nnodes: {min: 5, max: 4}\n")
                .find("'nodes.min' is above 'nodes.max', 4"),
            std::string::npos);
  EXPECT_NE(JobComplaint("command: [a]\nnodes: {min: 5}\n").find("must have a 'max'"),
            std::string::npos);
}

TEST(JobFile, NamesWhatItKnowsWhereAWordIsWrong) {
  const std::string complaint = JobComplaint(
      "command: [a]\n"
      "env_contract: [slrum]\n"
      "bind: socket\n"
      "limits: {cores: 1, nofile: many}\n");
  for (const char* part :
       {"job.yaml:2:15: 'env_contract' knows deepspeed, horovod, openmpi, slurm; "
        "found 'slrum'",
        "job.yaml:3:7: 'bind' knows auto, core, none, numa; found 'socket'",
        "no limit is called 'cores'; known are as, core, cpu",
        "takes a number, one with K, M or G, or 'unlimited'; found 'many'"}) {
    EXPECT_NE(complaint.find(part), std::string::npos) << part << "\n" << complaint;
  }
}

TEST(JobFile, ReportsEveryMistakeAtOnceWhereItStands) {
  const std::string complaint = JobComplaint(
      "nodes: -3\n"
      "rank_per_node: 2\n"
      "command: prog\n"
      "restart:\n"
      "  max: often\n"
      "grace: 30\n");
  EXPECT_EQ(complaint.substr(0, complaint.find('\n')),
            "job.yaml:1:8: 'nodes' must be a whole number 1..100000, found '-3'");
  EXPECT_NE(complaint.find("job.yaml:2:1: unknown key 'rank_per_node'; did you mean "
                           "'ranks_per_node'? (known: bind, checkpoint, command,"),
            std::string::npos)
      << complaint;
  EXPECT_NE(complaint.find("job.yaml:3:10: 'command' must be a list"), std::string::npos);
  EXPECT_NE(complaint.find("job.yaml:5:8: 'restart.max' must be a whole number"),
            std::string::npos);
  EXPECT_NE(complaint.find("job.yaml:6:8: 'grace' is wrong: '30' is not a length of time"),
            std::string::npos);
}

TEST(JobFile, SaysWhatIsNotSupportedYet) {
  EXPECT_NE(JobComplaint("command: [a]\nmesh: {tp: 2}\n")
                .find("job.yaml:2:7: 'mesh' is not supported yet"),
            std::string::npos);
  EXPECT_NE(
      JobComplaint("command: [a]\npty: true\n").find("job.yaml:2:6: 'pty' belongs to `muster run`"),
      std::string::npos);
}

TEST(JobFile, AStoreIsAFolderOrAnAddressOfAShare) {
  const std::string head = "command: [a]\ncheckpoint: {store: '";
  EXPECT_NE(JobComplaint(head + "nfs://h'}\n").find("it names no export"), std::string::npos);
  EXPECT_NE(JobComplaint(head + "ckpt'}\n").find("must begin with / or nfs://, found 'ckpt'"),
            std::string::npos);
  EXPECT_TRUE(ParseJobFile("job.yaml", head + "nfs://h/e?nconnect=8'}\n").ok());
}

TEST(JobFile, ALocalStoreIsAFolderBesideAStore) {
  const std::string head = "command: [a]\ncheckpoint: {";
  for (const char* wrong : {"nvme", "nfs://h/e"}) {
    EXPECT_NE(JobComplaint(head + "store: /s, local: '" + wrong + "'}\n")
                  .find("'checkpoint.local' must be a folder's absolute path on every node"),
              std::string::npos)
        << JobComplaint(head + "store: /s, local: '" + wrong + "'}\n");
  }
  EXPECT_NE(JobComplaint(head + "local: /nvme}\n").find("`store`, which is missing"),
            std::string::npos);
}

TEST(JobFile, WhatAJobGoesOnWithIsARunOfItsStore) {
  const std::string head = "command: [a]\ncheckpoint: {";
  for (const char* wrong : {"last", "57E3D1BE7E9E4BF1179558A22AAA81CF", "57e3d1be"}) {
    const std::string told = JobComplaint(head + "store: /s, resume: " + wrong + "}\n");
    EXPECT_NE(told.find("'checkpoint.resume' must be a run id, 32 hexadecimal digits"),
              std::string::npos)
        << told;
    EXPECT_NE(told.find(std::string("found '") + wrong + "'"), std::string::npos) << told;
  }
  EXPECT_NE(JobComplaint(head + "resume: 57e3d1be7e9e4bf1179558a22aaa81cf}\n")
                .find("'checkpoint.resume' names a run of `store`, which is missing"),
            std::string::npos);
}

TEST(JobFile, WhichCheckpointsAreKeptIsANumberOrRules) {
  const std::string head = "command: [a]\ncheckpoint: {store: /s, keep: ";
  const auto rules =
      ParseJobFile("job.yaml", head + "{last: 2, every: 6h, best: 1, metric: loss_ema}}\n");
  ASSERT_TRUE(rules.ok()) << rules.status().message();
  EXPECT_EQ(rules->checkpoint.keep, 2U);
  EXPECT_EQ(rules->checkpoint.keep_also, "every=360m,best=1,metric=loss_ema,better=lower");
  EXPECT_NE(JobComplaint(head + "{best: 2}}\n").find("belong together"), std::string::npos);
  EXPECT_NE(JobComplaint(head + "{every: 6}}\n").find("'every=6' is no rule"), std::string::npos);
  EXPECT_NE(JobComplaint(head + "{lats: 3}}\n").find("last"), std::string::npos);
  EXPECT_NE(JobComplaint(head + "0}\n").find("of at least 1"), std::string::npos);
}

TEST(JobFile, WhatACheckpointTellsOfItsJobIsAMapOfTexts) {
  const std::string head = "command: [a]\ncheckpoint: {store: /s, metadata: ";
  const auto job = ParseJobFile("job.yaml", head + "{dataset: v3, ticket: 12}}\n");
  ASSERT_TRUE(job.ok()) << job.status().message();
  EXPECT_EQ(job->checkpoint.metadata, (std::vector<std::string>{"dataset=v3", "ticket=12"}));
  EXPECT_NE(JobComplaint(head + "{job: mine}}\n").find("cannot have 'job'"), std::string::npos);
  EXPECT_NE(JobComplaint(head + "[v3]}\n").find("must be a map"), std::string::npos);
  EXPECT_NE(JobComplaint(head + "{a: " + std::string(1001, 'x') + "}}\n").find("1000 bytes"),
            std::string::npos);
}

TEST(JobFile, RefusesWhatIsNotAMapOfKeys) {
  EXPECT_NE(JobComplaint("").find("job.yaml:1:1: a job file is a map of keys, found nothing"),
            std::string::npos);
  EXPECT_NE(JobComplaint("- a\n").find("found a list"), std::string::npos);
  EXPECT_NE(JobComplaint("command: [a\n").find("not YAML"), std::string::npos);
  EXPECT_NE(JobComplaint("nodes: 1\n").find("'command' is missing"), std::string::npos);
}

TEST(JobFile, RefusesAKeyThatStandsTwice) {
  EXPECT_NE(JobComplaint("command: [a]\nnodes: 1\nnodes: 2\n").find(":3:1: the key 'nodes' stands"),
            std::string::npos);
}

TEST(JobFile, RefusesCommandBesideScript) {
  EXPECT_NE(JobComplaint("command: [a]\nscript: b\n").find("give one of them"), std::string::npos);
}

TEST(ClusterFile, SampleHoldsTheDefaults) {
  const auto text = ReadFile(configs + "/cluster.yaml");
  ASSERT_TRUE(text.ok());
  const auto cluster = ParseClusterFile("cluster.yaml", *text);
  ASSERT_TRUE(cluster.ok()) << cluster.status().message();
  ClusterFile expected;
  expected.nodes = {{.name = "n0"}};
  EXPECT_EQ(*cluster, expected);
}

TEST(ClusterFile, ReadsEveryKey) {
  const auto cluster = ParseClusterFile("cluster.yaml", R"(
name: lab
listen: 10.0.0.1:7000
state_dir: /var/lib/muster
nodes:
  - {name: a, address: 10.0.0.2, slots: 8, block: b, leaf: l, spine: s}
  - {name: b}
shares:
  - {path: /nfs, limit_mb_per_s: 2000}
  - {path: "nfs://10.0.0.5/export", limit_mb_per_s: 1}
)");
  ASSERT_TRUE(cluster.ok()) << cluster.status().message();
  EXPECT_EQ(cluster->shares, (std::vector<ShareEntry>{{"/nfs", 2'000'000'000},
                                                      {"nfs://10.0.0.5/export", 1'000'000}}));
  EXPECT_EQ(cluster->nodes[0], (NodeEntry{.name = "a",
                                          .address = "10.0.0.2",
                                          .slots = 8,
                                          .block = "b",
                                          .leaf = "l",
                                          .spine = "s"}));
  EXPECT_EQ(cluster->listen, "10.0.0.1:7000");
}

TEST(ClusterFile, ReportsEveryMistakeAtOnce) {
  const std::string complaint = ClusterComplaint(
      "listen: here\n"
      "nodes:\n"
      "  - {name: a, slots: 0}\n"
      "  - {name: a, slotz: 1}\n"
      "  - {name: a/b}\n"
      "  - 7\n"
      "  - {gpus: 8}\n");
  for (const char* part :
       {"cluster.yaml:1:9: 'listen' must be HOST:PORT", "cluster.yaml:3:22: 'nodes[0].slots' must",
        "cluster.yaml:4:12: 'nodes[1].name' 'a' is taken", "unknown key 'nodes[1].slotz'; did you",
        "'nodes[2].name' takes letters", "cluster.yaml:6:5: 'nodes[3]' must be a map",
        "'nodes[4].name' is missing", "'nodes[4].gpus' is not supported yet"}) {
    EXPECT_NE(complaint.find(part), std::string::npos) << part << "\nin\n" << complaint;
  }
}

TEST(ClusterFile, AShareHasAPathAndALimit) {
  const std::string complaint = ClusterComplaint(
      "nodes: [{name: a}]\n"
      "shares:\n"
      "  - {path: nfs, limit_mb_per_s: 5}\n"
      "  - {limit_mb_per_s: 0}\n"
      "  - {path: /nfs}\n"
      "  - {path: /nfs, limit_mb_per_s: fast}\n"
      "  - /nfs\n");
  for (const char* part :
       {"cluster.yaml:3:12: 'shares[0].path' must begin with / or nfs://",
        "'shares[1].path' is missing", "'shares[1].limit_mb_per_s' must be a whole number",
        "'shares[2].limit_mb_per_s' is missing", "'shares[3].path' '/nfs' has a limit already",
        "'shares[3].limit_mb_per_s' must be a whole number",
        "'shares[4]' must be a map such as {path: /nfs, limit_mb_per_s: 500}"}) {
    EXPECT_NE(complaint.find(part), std::string::npos) << part << "\nin\n" << complaint;
  }
}

TEST(ClusterFile, NeedsANode) {
  EXPECT_NE(ClusterComplaint("name: x\n").find("at least one node"), std::string::npos);
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (argc != 2) return 1;
  muster::configs = argv[1];
  return RUN_ALL_TESTS();
}
