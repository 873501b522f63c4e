#include "launcher/jobd/rank_environment.h"

#include <algorithm>
#include <string_view>

#include "launcher/jobd/env_contracts.h"
#include "runtime/base/lean_start.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

bool Begins(const std::string& text, std::string_view prefix) {
  return text.rfind(prefix, 0) == 0;
}

// A user's own OMPI_MCA_ settings stay, unless an mpirun around us mixed its own among them.
bool OfOuterLauncher(const std::string& name, bool inside_mpirun) {
  for (const char* prefix :
       {"OMPI_MCA_orte_", "OMPI_MCA_ess", "OMPI_MCA_pmix", "OMPI_MCA_schizo"}) {
    if (Begins(name, prefix)) return true;
  }
  if (OfOuterRank(name)) return true;
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

void AddUser(const StartAttempt& order, Variables& all) {
  all.try_emplace("HOME", order.owner.home.empty() ? "/" : order.owner.home);
  all.try_emplace("PATH", "/usr/local/bin:/usr/bin:/bin");
  if (!order.owner.user.empty()) all.try_emplace("USER", order.owner.user);
}

void AddNode(const StartAttempt& order, Variables& all) {
  all["MUSTER_NODE_RANK"] = std::to_string(order.host_index);
  all["MUSTER_NUM_NODES"] = std::to_string(order.hosts.size());
  all["MUSTER_ATTEMPT"] = std::to_string(order.attempt);
  all["MUSTER_JOB_ID"] = std::to_string(order.job);
  all["MUSTER_RUN_ID"] = order.run_id;
  all.erase("MUSTER_CHECKPOINT_STORE");
  all.erase("MUSTER_CHECKPOINT_DEADLINE_MS");
  if (order.checkpoint.store.empty()) return;
  all["MUSTER_CHECKPOINT_STORE"] = order.checkpoint.store;
  all["MUSTER_CHECKPOINT_DEADLINE_MS"] = std::to_string(order.checkpoint.deadline_ms);
}

std::vector<std::string> Entries(const Variables& all) {
  std::vector<std::string> entries;
  entries.reserve(all.size());
  for (const auto& [name, value] : all) {
    std::string entry = name;
    entry += '=';
    entries.push_back(entry + value);
  }
  return entries;
}

void AddOurs(const StartAttempt& order, const RankPlace& place, const RankSurroundings& around,
             Variables& all) {
  all["MUSTER_RANK"] = std::to_string(place.rank);
  all["MUSTER_WORLD_SIZE"] = std::to_string(place.world);
  all["MUSTER_LOCAL_RANK"] = std::to_string(place.local_rank);
  all["MUSTER_LOCAL_WORLD_SIZE"] = std::to_string(place.local_world);
  AddNode(order, all);
  all["MUSTER_SLOT"] = std::to_string(order.hosts[place.host_index].slots[place.local_rank]);
  all["MUSTER_LINK_FD"] = std::to_string(around.link_fd);
  all["MUSTER_LINK_TOKEN"] = around.link_token;
  all["MUSTER_JOB_COOKIE"] = around.job_cookie;
  all["MUSTER_CLUSTER_COOKIE"] = around.cluster_cookie;
}

// Slots are GPUs where there are any.  The placed ones decide, whatever the submitter's shell says.
void AddGpus(const StartAttempt& order, const RankPlace& place, std::uint32_t gpus,
             Variables& all) {
  const std::vector<std::uint32_t>& slots = order.hosts[place.host_index].slots;
  std::vector<std::string> visible;
  for (std::size_t i = 0; i < slots.size(); ++i) {
    const bool shown = order.launch.gpu_view == GpuView::kNode || i == place.local_rank;
    if (shown && slots[i] < gpus) visible.push_back(std::to_string(slots[i]));
  }
  if (gpus == 0) return;
  all.insert_or_assign("CUDA_VISIBLE_DEVICES", Join(visible, ","));
  all.try_emplace("CUDA_DEVICE_ORDER", "PCI_BUS_ID");
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
  if (around.ranks_here > around.cores) all.try_emplace("OMPI_MCA_mpi_yield_when_idle", "1");
}

}  // namespace

std::vector<std::string> NodeEnvironment(const StartAttempt& order) {
  Variables all = Inherited(order.program.environment);
  AddUser(order, all);
  AddNode(order, all);
  return Entries(all);
}

std::vector<std::string> RankEnvironment(const StartAttempt& order, std::uint32_t local_rank,
                                         const RankSurroundings& around) {
  Variables all = Inherited(order.program.environment);
  AddUser(order, all);
  const RankPlace place = PlaceOf(order, local_rank);
  AddOurs(order, place, around, all);
  AddTorchrun(order, place, around.meeting, all);
  AddJax(around.meeting, all);
  AddMpi(around, all);
  AddInterface(around.meeting, all);
  AddContracts(order, place, around.meeting, all);
  // Its share of the cores; a rank that has the machine for itself knows better.
  if (around.ranks_here > 1 || around.bound_cores > 0) {
    const std::uint32_t share = std::max(1U, around.cores / around.ranks_here);
    const std::uint32_t threads =
        around.bound_cores == 0 ? share : std::min(share, around.bound_cores);
    all.try_emplace("OMP_NUM_THREADS", std::to_string(threads));
  }
  AddGpus(order, place, around.gpus, all);
  return Entries(all);
}

std::vector<std::string> EnvironmentBeside(const std::vector<std::string>& of_rank,
                                           const std::string& pid) {
  std::vector<std::string> entries;
  for (const std::string& entry : of_rank) {
    if (entry.empty() || Begins(entry, "PMIX_") || Begins(entry, "PMI_") || Begins(entry, "JSM_") ||
        Begins(entry, "MUSTER_LINK_")) {
      continue;
    }
    entries.push_back(entry);
  }
  entries.push_back("MUSTER_RANK_PID=" + pid);
  return entries;
}

}  // namespace muster
