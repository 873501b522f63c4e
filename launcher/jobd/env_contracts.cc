#include "launcher/jobd/env_contracts.h"

#include <algorithm>
#include <array>

#include "runtime/base/text.h"

namespace muster {
namespace {

bool Begins(std::string_view text, std::string_view prefix) {
  return text.substr(0, prefix.size()) == prefix;
}

std::string NodeList(const StartAttempt& order) {
  std::vector<std::string> names;
  for (const Host& host : order.hosts) names.push_back(host.node);
  return Join(names, ",");
}

// "8(x2),4": how many ranks each node has, equal neighbours together.
std::string TasksPerNode(const StartAttempt& order) {
  std::string text;
  for (std::size_t i = 0; i < order.hosts.size();) {
    const std::size_t ranks = order.hosts[i].slots.size();
    std::size_t same = 1;
    while (i + same < order.hosts.size() && order.hosts[i + same].slots.size() == ranks) ++same;
    text += (text.empty() ? "" : ",") + std::to_string(ranks);
    if (same > 1) text += "(x" + std::to_string(same) + ")";
    i += same;
  }
  return text;
}

std::string RanksOf(const Host& host) {
  std::vector<std::string> ranks;
  for (std::size_t i = 0; i < host.slots.size(); ++i) {
    ranks.push_back(std::to_string(host.first_rank + i));
  }
  return Join(ranks, ",");
}

// srun(1), section OUTPUT ENVIRONMENT VARIABLES.
void AddSlurm(const StartAttempt& order, const RankPlace& place, const Meeting& meeting,
              Variables& all) {
  const Host& host = order.hosts[place.host_index];
  const std::string nodes = std::to_string(order.hosts.size());
  const std::string ranks = std::to_string(place.world);
  all["SLURM_JOB_ID"] = all["SLURM_JOBID"] = std::to_string(order.job);
  all["SLURM_JOB_NAME"] = order.name;
  all["SLURM_STEP_ID"] = all["SLURM_STEPID"] = "0";
  all["SLURM_RESTART_COUNT"] = std::to_string(order.attempt);
  all["SLURM_PROCID"] = std::to_string(place.rank);
  all["SLURM_LOCALID"] = std::to_string(place.local_rank);
  all["SLURM_NODEID"] = std::to_string(place.host_index);
  all["SLURM_NTASKS"] = all["SLURM_NPROCS"] = all["SLURM_STEP_NUM_TASKS"] = ranks;
  all["SLURM_NNODES"] = all["SLURM_JOB_NUM_NODES"] = all["SLURM_STEP_NUM_NODES"] = nodes;
  all["SLURM_NODELIST"] = all["SLURM_JOB_NODELIST"] = all["SLURM_STEP_NODELIST"] = NodeList(order);
  all["SLURM_TASKS_PER_NODE"] = all["SLURM_STEP_TASKS_PER_NODE"] = TasksPerNode(order);
  all["SLURM_NTASKS_PER_NODE"] = std::to_string(host.slots.size());
  all["SLURM_GTIDS"] = RanksOf(host);
  all["SLURMD_NODENAME"] = host.node;
  all["SLURM_LAUNCH_NODE_IPADDR"] = meeting.address;
  all["SLURM_SUBMIT_DIR"] = order.program.workdir;
}

// horovod/runner/gloo_run.py; without its rendezvous, which Horovod over MPI does not need.
void AddHorovod(const StartAttempt& order, const RankPlace& place, const Meeting& meeting,
                Variables& all) {
  all["HOROVOD_RANK"] = std::to_string(place.rank);
  all["HOROVOD_SIZE"] = std::to_string(place.world);
  all["HOROVOD_LOCAL_RANK"] = std::to_string(place.local_rank);
  all["HOROVOD_LOCAL_SIZE"] = std::to_string(place.local_world);
  all["HOROVOD_CROSS_RANK"] = std::to_string(place.host_index);
  all["HOROVOD_CROSS_SIZE"] = std::to_string(order.hosts.size());
  all["HOROVOD_HOSTNAME"] = order.hosts[place.host_index].node;
  all.try_emplace("HOROVOD_CONTROLLER", "mpi");
  all.try_emplace("HOROVOD_CPU_OPERATIONS", "mpi");
  if (!meeting.interface.empty()) all.try_emplace("HOROVOD_GLOO_IFACE", meeting.interface);
}

// deepspeed/launcher/launch.py, beyond what torchrun sets.
void AddDeepSpeed(const StartAttempt& order, const RankPlace& place, Variables& all) {
  all["LOCAL_SIZE"] = std::to_string(place.local_world);
  all["CROSS_RANK"] = std::to_string(place.host_index);
  all["CROSS_SIZE"] = std::to_string(order.hosts.size());
}

// Open MPI's docs, "Environment variables set by mpirun".  The last is how JAX knows mpirun; Open
// MPI itself does not connect to it, since PMIx tells it all.
void AddOpenMpi(const RankPlace& place, const Meeting& meeting, Variables& all) {
  all["OMPI_COMM_WORLD_RANK"] = std::to_string(place.rank);
  all["OMPI_COMM_WORLD_SIZE"] = all["OMPI_UNIVERSE_SIZE"] = std::to_string(place.world);
  all["OMPI_COMM_WORLD_LOCAL_RANK"] = all["OMPI_COMM_WORLD_NODE_RANK"] =
      std::to_string(place.local_rank);
  all["OMPI_COMM_WORLD_LOCAL_SIZE"] = std::to_string(place.local_world);
  all["OMPI_MCA_orte_hnp_uri"] =
      "0.0;tcp://" + meeting.address + ":" + std::to_string(meeting.next_port);
}

}  // namespace

RankPlace PlaceOf(const StartAttempt& order, std::uint32_t local_rank) {
  const Host& host = order.hosts[order.host_index];
  return {.rank = host.first_rank + local_rank,
          .local_rank = local_rank,
          .local_world = static_cast<std::uint32_t>(host.slots.size()),
          .host_index = order.host_index,
          .world = WorldSize(order)};
}

std::uint32_t WorldSize(const StartAttempt& order) {
  std::size_t ranks = 0;
  for (const Host& host : order.hosts) ranks += host.slots.size();
  return static_cast<std::uint32_t>(ranks);
}

void AddTorchrun(const StartAttempt& order, const RankPlace& place, const Meeting& meeting,
                 Variables& all) {
  all["RANK"] = all["ROLE_RANK"] = std::to_string(place.rank);
  all["WORLD_SIZE"] = all["ROLE_WORLD_SIZE"] = std::to_string(place.world);
  all["LOCAL_RANK"] = std::to_string(place.local_rank);
  all["LOCAL_WORLD_SIZE"] = std::to_string(place.local_world);
  all["GROUP_RANK"] = std::to_string(place.host_index);
  all["GROUP_WORLD_SIZE"] = std::to_string(order.hosts.size());
  all.try_emplace("ROLE_NAME", "default");
  all["MASTER_ADDR"] = meeting.address;
  all["MASTER_PORT"] = std::to_string(meeting.port);
  all["TORCHELASTIC_RESTART_COUNT"] = std::to_string(order.attempt);
  all["TORCHELASTIC_MAX_RESTARTS"] = std::to_string(order.max_restarts);
  all["TORCHELASTIC_RUN_ID"] = order.run_id;
  // Rank 0 opens the store itself: nobody listens on MASTER_PORT before.
  all["TORCHELASTIC_USE_AGENT_STORE"] = "False";
  all.try_emplace("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1");
  all.try_emplace("NCCL_ASYNC_ERROR_HANDLING", "1");  // Its name before torch 2.2.
}

void AddJax(const Meeting& meeting, Variables& all) {
  const bool six = meeting.address.find(':') != std::string::npos;
  const std::string host = six ? "[" + meeting.address + "]" : meeting.address;
  all["JAX_COORDINATOR_ADDRESS"] = host + ":" + std::to_string(meeting.next_port);
  all["JAX_COORDINATOR_PORT"] = std::to_string(meeting.next_port);
}

void AddInterface(const Meeting& meeting, Variables& all) {
  if (meeting.interface.empty()) return;
  for (const char* name :
       {"GLOO_SOCKET_IFNAME", "TP_SOCKET_IFNAME", "OMPI_MCA_btl_tcp_if_include"}) {
    all.try_emplace(name, meeting.interface);
  }
  all.try_emplace("NCCL_SOCKET_IFNAME", "=" + meeting.interface);  // This one, not those it begins.
}

void AddContracts(const StartAttempt& order, const RankPlace& place, const Meeting& meeting,
                  Variables& all) {
  for (const std::string& contract : order.launch.contracts) {
    if (contract == "slurm") AddSlurm(order, place, meeting, all);
    if (contract == "horovod") AddHorovod(order, place, meeting, all);
    if (contract == "deepspeed") AddDeepSpeed(order, place, all);
    if (contract == "openmpi") AddOpenMpi(place, meeting, all);
  }
}

bool OfOuterRank(std::string_view name) {
  constexpr std::array<std::string_view, 14> kPrefixes = {"PMIX_",         "PMI_",
                                                          "PRTE_",         "JSM_",
                                                          "SLURM_STEP",    "SLURM_TASK",
                                                          "SLURM_NTASKS",  "SLURM_NPROCS",
                                                          "HOROVOD_RANK",  "HOROVOD_SIZE",
                                                          "HOROVOD_LOCAL", "HOROVOD_CROSS",
                                                          "TORCHELASTIC_", "JAX_COORDINATOR_"};
  constexpr std::array<std::string_view, 9> kNames = {
      "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID", "SLURM_GTIDS",     "GROUP_RANK",
      "LOCAL_SIZE",   "CROSS_RANK",    "CROSS_SIZE",   "GROUP_WORLD_SIZE"};
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() ||
         std::any_of(kPrefixes.begin(), kPrefixes.end(),
                     [&](std::string_view prefix) { return Begins(name, prefix); });
}

}  // namespace muster
