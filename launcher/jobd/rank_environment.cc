#include "launcher/jobd/rank_environment.h"

#include <map>
#include <string_view>

#include "runtime/base/lean_start.h"

namespace muster {
namespace {

using Variables = std::map<std::string, std::string>;

bool Begins(const std::string& text, std::string_view prefix) {
  return text.rfind(prefix, 0) == 0;
}

// A user's own OMPI_MCA_ settings stay, unless an mpirun around us mixed its own among them.
bool OfOuterLauncher(const std::string& name, bool inside_mpirun) {
  for (const char* prefix : {"PMIX_", "PMI_", "PRTE_", "JSM_", "OMPI_MCA_orte_", "OMPI_MCA_ess",
                             "OMPI_MCA_pmix", "OMPI_MCA_schizo"}) {
    if (Begins(name, prefix)) return true;
  }
  if (Begins(name, "OMPI_MCA_")) return inside_mpirun;
  return Begins(name, "OMPI_");
}

Variables Inherited(const std::vector<std::string>& environment) {
  Variables all;
  for (const std::string& entry : environment) {
    const std::size_t equals = entry.find('=', 1);
    if (equals != std::string::npos) all[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  const bool inside_mpirun = all.contains("OMPI_COMM_WORLD_SIZE");
  std::erase_if(all, [&](const auto& item) { return OfOuterLauncher(item.first, inside_mpirun); });
  return all;
}

void AddOurs(const StartAttempt& order, std::uint32_t local_rank, const RankSurroundings& around,
             Variables& all) {
  const Host& host = order.hosts[order.host_index];
  const std::string rank = std::to_string(host.first_rank + local_rank);
  const std::string world = std::to_string(WorldSize(order));
  const std::string local = std::to_string(local_rank);
  const std::string local_world = std::to_string(host.slots.size());
  all["MUSTER_RANK"] = all["RANK"] = rank;
  all["MUSTER_WORLD_SIZE"] = all["WORLD_SIZE"] = world;
  all["MUSTER_LOCAL_RANK"] = all["LOCAL_RANK"] = local;
  all["MUSTER_LOCAL_WORLD_SIZE"] = all["LOCAL_WORLD_SIZE"] = local_world;
  all["MUSTER_NODE_RANK"] = std::to_string(order.host_index);
  all["MUSTER_NUM_NODES"] = std::to_string(order.hosts.size());
  all["MUSTER_ATTEMPT"] = std::to_string(order.attempt);
  all["MUSTER_JOB_ID"] = std::to_string(order.job);
  all["MUSTER_RUN_ID"] = order.run_id;
  all["MUSTER_SLOT"] = std::to_string(host.slots[local_rank]);
  all["MUSTER_LINK_FD"] = std::to_string(around.link_fd);
  all["MUSTER_LINK_TOKEN"] = around.link_token;
  all["MUSTER_JOB_COOKIE"] = around.job_cookie;
  all["MUSTER_CLUSTER_COOKIE"] = around.cluster_cookie;
  all["MASTER_ADDR"] = around.master_address;
  all["MASTER_PORT"] = std::to_string(around.master_port);
}

void AddMpi(const RankSurroundings& around, Variables& all) {
  for (const std::string& entry : around.pmix) {
    const std::size_t equals = entry.find('=');
    all[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  // Without this mark Open MPI 4.1 takes each rank for a program of its own.
  all.insert_or_assign("JSM_JSRUN_PORT", std::string("0"));
  all["OMPI_MCA_orte_tmpdir_base"] = around.mpi_folder;
  all["OMPI_MCA_btl_vader_backing_directory"] = around.shm_folder;
  all.try_emplace("OMPI_MCA_pml", "ob1");  // Lean start (D1a).
  if (MayLeanHwloc([&](const char* name) { return all.contains(name); })) {
    for (const LeanSetting& setting : kLeanHwloc) all[setting.name] = setting.value;
  }
  if (around.loopback_only) all.try_emplace("OMPI_MCA_btl_tcp_if_include", "lo");
  if (around.ranks_here > around.cores) all.try_emplace("OMPI_MCA_mpi_yield_when_idle", "1");
}

}  // namespace

std::uint32_t WorldSize(const StartAttempt& order) {
  std::size_t ranks = 0;
  for (const Host& host : order.hosts) ranks += host.slots.size();
  return static_cast<std::uint32_t>(ranks);
}

std::vector<std::string> RankEnvironment(const StartAttempt& order, std::uint32_t local_rank,
                                         const RankSurroundings& around) {
  Variables all = Inherited(order.program.environment);
  all.try_emplace("HOME", order.owner.home.empty() ? "/" : order.owner.home);
  all.try_emplace("PATH", "/usr/local/bin:/usr/bin:/bin");
  if (!order.owner.user.empty()) all.try_emplace("USER", order.owner.user);
  AddOurs(order, local_rank, around, all);
  AddMpi(around, all);
  if (around.ranks_here >= around.cores) all.try_emplace("OMP_NUM_THREADS", "1");
  std::vector<std::string> entries;
  entries.reserve(all.size());
  for (const auto& [name, value] : all) {
    std::string entry = name;
    entry += '=';
    entries.push_back(entry + value);
  }
  return entries;
}

}  // namespace muster
