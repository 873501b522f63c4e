#include "launcher/jobd/env_contracts.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

// Rank 4 of 7: on the second of three nodes, which have 3, 2 and 2 ranks.
StartAttempt Order(std::vector<std::string> contracts = {}) {
  StartAttempt order{.job = 12, .attempt = 3, .run_id = "0f", .host_index = 1, .name = "train"};
  order.program.workdir = "/work";
  order.max_restarts = 5;
  order.launch.contracts = std::move(contracts);
  std::uint32_t first = 0;
  for (const auto& [name, slots] : {std::pair{"n0", 3U}, {"n1", 2U}, {"n2", 2U}}) {
    Host host{.node = name, .first_rank = first};
    for (std::uint32_t slot = 0; slot < slots; ++slot) host.slots.push_back(slot);
    first += slots;
    order.hosts.push_back(host);
  }
  return order;
}

const Meeting kMeeting{
    .address = "10.0.0.1", .port = 61001, .next_port = 61002, .interface = "eth1"};

Variables Contracts(const StartAttempt& order) {
  Variables all;
  AddContracts(order, PlaceOf(order, 1), kMeeting, all);
  return all;
}

TEST(Torchrun, SetsWhatItsAgentSets) {
  const StartAttempt order = Order();
  Variables all;
  AddTorchrun(order, PlaceOf(order, 1), kMeeting, all);
  EXPECT_EQ(all, (Variables{{"RANK", "4"},
                            {"ROLE_RANK", "4"},
                            {"WORLD_SIZE", "7"},
                            {"ROLE_WORLD_SIZE", "7"},
                            {"LOCAL_RANK", "1"},
                            {"LOCAL_WORLD_SIZE", "2"},
                            {"GROUP_RANK", "1"},
                            {"GROUP_WORLD_SIZE", "3"},
                            {"ROLE_NAME", "default"},
                            {"MASTER_ADDR", "10.0.0.1"},
                            {"MASTER_PORT", "61001"},
                            {"TORCHELASTIC_RESTART_COUNT", "3"},
                            {"TORCHELASTIC_MAX_RESTARTS", "5"},
                            {"TORCHELASTIC_RUN_ID", "0f"},
                            {"TORCHELASTIC_USE_AGENT_STORE", "False"},
                            {"TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"},
                            {"NCCL_ASYNC_ERROR_HANDLING", "1"}}));
}

TEST(Jax, FindsItsCoordinatorAtAPortOfItsOwn) {
  Variables all;
  AddJax(kMeeting, all);
  EXPECT_EQ(all["JAX_COORDINATOR_ADDRESS"], "10.0.0.1:61002");
  AddJax({.address = "fd00::1", .next_port = 61002}, all);
  EXPECT_EQ(all["JAX_COORDINATOR_ADDRESS"], "[fd00::1]:61002");
}

TEST(Interface, IsADefaultOnly) {
  Variables all = {{"NCCL_SOCKET_IFNAME", "ib0"}};
  AddInterface(kMeeting, all);
  EXPECT_EQ(all, (Variables{{"NCCL_SOCKET_IFNAME", "ib0"},
                            {"GLOO_SOCKET_IFNAME", "eth1"},
                            {"TP_SOCKET_IFNAME", "eth1"},
                            {"OMPI_MCA_btl_tcp_if_include", "eth1"}}));
  Variables unknown;
  AddInterface({}, unknown);
  EXPECT_TRUE(unknown.empty());
}

TEST(Contracts, AreThereOnRequestOnly) {
  EXPECT_TRUE(Contracts(Order()).empty());
}

TEST(Contracts, SlurmSaysWhatSrunSays) {
  Variables all = Contracts(Order({"slurm"}));
  EXPECT_EQ(all["SLURM_PROCID"], "4");
  EXPECT_EQ(all["SLURM_LOCALID"], "1");
  EXPECT_EQ(all["SLURM_NODEID"], "1");
  EXPECT_EQ(all["SLURM_NTASKS"], "7");
  EXPECT_EQ(all["SLURM_STEP_NUM_TASKS"], "7");
  EXPECT_EQ(all["SLURM_NNODES"], "3");
  EXPECT_EQ(all["SLURM_STEP_NODELIST"], "n0,n1,n2");
  EXPECT_EQ(all["SLURM_TASKS_PER_NODE"], "3,2(x2)");
  EXPECT_EQ(all["SLURM_GTIDS"], "3,4");
  EXPECT_EQ(all["SLURMD_NODENAME"], "n1");
  EXPECT_EQ(all["SLURM_JOB_ID"], "12");
  EXPECT_EQ(all["SLURM_RESTART_COUNT"], "3");
  EXPECT_EQ(all["SLURM_LAUNCH_NODE_IPADDR"], "10.0.0.1");
  EXPECT_EQ(all.count("HOROVOD_RANK"), 0U);
}

TEST(Contracts, HorovodDeepSpeedAndOpenMpiCanBeHadTogether) {
  EXPECT_EQ(Contracts(Order({"horovod", "deepspeed", "openmpi"})),
            (Variables{{"HOROVOD_RANK", "4"},
                       {"HOROVOD_SIZE", "7"},
                       {"HOROVOD_LOCAL_RANK", "1"},
                       {"HOROVOD_LOCAL_SIZE", "2"},
                       {"HOROVOD_CROSS_RANK", "1"},
                       {"HOROVOD_CROSS_SIZE", "3"},
                       {"HOROVOD_HOSTNAME", "n1"},
                       {"HOROVOD_CONTROLLER", "mpi"},
                       {"HOROVOD_CPU_OPERATIONS", "mpi"},
                       {"HOROVOD_GLOO_IFACE", "eth1"},
                       {"LOCAL_SIZE", "2"},
                       {"CROSS_RANK", "1"},
                       {"CROSS_SIZE", "3"},
                       {"OMPI_COMM_WORLD_RANK", "4"},
                       {"OMPI_COMM_WORLD_SIZE", "7"},
                       {"OMPI_UNIVERSE_SIZE", "7"},
                       {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                       {"OMPI_COMM_WORLD_NODE_RANK", "1"},
                       {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"},
                       {"OMPI_MCA_orte_hnp_uri", "0.0;tcp://10.0.0.1:61002"}}));
}

// A job that is submitted from within a job of Slurm must not have each rank take itself for that
// job's rank 0.
TEST(OuterRank, IsKnownByWhatItsLauncherSetForIt) {
  for (const char* name : {"SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_LOCALID", "PMIX_RANK",
                           "HOROVOD_RANK", "TORCHELASTIC_RUN_ID", "JAX_COORDINATOR_ADDRESS"}) {
    EXPECT_TRUE(OfOuterRank(name)) << name;
  }
  for (const char* name : {"SLURM_JOB_ID", "SLURM_CPUS_ON_NODE", "HOROVOD_FUSION_THRESHOLD",
                           "TORCH_HOME", "JAX_PLATFORMS"}) {
    EXPECT_FALSE(OfOuterRank(name)) << name;
  }
}

}  // namespace
}  // namespace muster
