#include "launcher/jobd/pmix_main_pmix.h"

#include <pmix.h>
#include <pmix_server.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <map>
#include <set>

#include "launcher/jobd/pmix_words.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/mutex.h"
#include "runtime/base/text.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr int kJobdFd = 3;

// What both threads touch.  libpmix's callbacks carry no pointer of ours, so there is one of these.
class Shared {
 public:
  // Without jobd there is nobody to serve, and no clean-up worth a PMIx call.
  void Tell(const pmix::FromHelper& message) {
    const std::string body = EncodeVariant(message);
    const auto size = static_cast<std::uint32_t>(body.size());
    std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
    frame += body;
    const MutexLock lock(mutex_);
    if (!WriteAll(kJobdFd, frame.data(), frame.size()).ok()) _exit(0);
  }

  void SetHosts(const std::vector<pmix::HostRanks>& hosts) {
    const MutexLock lock(mutex_);
    hosts_ = hosts;
  }

  // Its key is the same on each host: the participants, and how often they met before.
  pmix::FenceAsked AddFence(const pmix_proc_t* procs, std::size_t count,
                            pmix_modex_cbfunc_t callback, void* data) {
    const MutexLock lock(mutex_);
    std::set<std::size_t> hosts;
    std::string key;
    for (std::size_t i = 0; i < count; ++i) {
      key += std::to_string(procs[i].rank) + ";";
      for (std::size_t host = 0; host < hosts_.size(); ++host) {
        if (procs[i].rank == PMIX_RANK_WILDCARD ||
            (procs[i].rank >= hosts_[host].first_rank &&
             procs[i].rank < hosts_[host].first_rank + hosts_[host].count)) {
          hosts.insert(host);
        }
      }
    }
    key += "#" + std::to_string(meetings_[key]++);
    fences_[key] = {callback, data};
    return {.key = key, .hosts = static_cast<std::uint32_t>(hosts.size())};
  }

  struct Fence {
    pmix_modex_cbfunc_t callback = nullptr;
    void* data = nullptr;
  };
  // No callback: this host does not take part.
  Fence TakeFence(const std::string& key) {
    const MutexLock lock(mutex_);
    const auto found = fences_.find(key);
    if (found == fences_.end()) return {};
    const Fence fence = found->second;
    fences_.erase(found);
    return fence;
  }

 private:
  Mutex mutex_;
  std::vector<pmix::HostRanks> hosts_ GUARDED_BY(mutex_);
  std::map<std::string, Fence> fences_ GUARDED_BY(mutex_);
  std::map<std::string, std::uint32_t> meetings_ GUARDED_BY(mutex_);
};

Shared& TheShared() {
  static Shared shared;
  return shared;
}

// ---- libpmix's thread ---------------------------------------------------------------------------

pmix_status_t OnConnected(const pmix_proc_t* proc, void*, pmix_info_t*, std::size_t,
                          pmix_op_cbfunc_t, void*) {
  TheShared().Tell(pmix::RankConnected{.rank = proc->rank});
  return PMIX_OPERATION_SUCCEEDED;
}

pmix_status_t OnFinalized(const pmix_proc_t* proc, void*, pmix_op_cbfunc_t, void*) {
  TheShared().Tell(pmix::RankFinalized{.rank = proc->rank});
  return PMIX_OPERATION_SUCCEEDED;
}

// NOLINTNEXTLINE(readability-function-size): PMIx asks for this signature.
pmix_status_t OnAbort(const pmix_proc_t* proc, void*, int status, const char* text, pmix_proc_t*,
                      std::size_t, pmix_op_cbfunc_t, void*) {
  TheShared().Tell(
      pmix::RankAborted{.rank = proc->rank, .status = status, .text = text == nullptr ? "" : text});
  return PMIX_OPERATION_SUCCEEDED;
}

// The data is ours to free.  A fence among ranks of this host only never comes here.
// NOLINTNEXTLINE(readability-function-size): PMIx asks for this signature.
pmix_status_t OnFence(const pmix_proc_t* procs, std::size_t count, const pmix_info_t*, std::size_t,
                      char* data, std::size_t size, pmix_modex_cbfunc_t callback,
                      void* callback_data) {
  pmix::FenceAsked asked = TheShared().AddFence(procs, count, callback, callback_data);
  if (data != nullptr) asked.blob.assign(data, size);
  std::free(data);
  TheShared().Tell(asked);
  return PMIX_SUCCESS;
}

pmix_status_t OnDirectModex(const pmix_proc_t*, const pmix_info_t*, std::size_t,
                            pmix_modex_cbfunc_t, void*) {
  return PMIX_ERR_NOT_SUPPORTED;
}

pmix_status_t OnRegisterEvents(pmix_status_t*, std::size_t, const pmix_info_t*, std::size_t,
                               pmix_op_cbfunc_t, void*) {
  return PMIX_OPERATION_SUCCEEDED;
}

pmix_status_t OnDeregisterEvents(pmix_status_t*, std::size_t, pmix_op_cbfunc_t, void*) {
  return PMIX_OPERATION_SUCCEEDED;
}

pmix_server_module_t* Module() {
  static pmix_server_module_t module = [] {
    pmix_server_module_t made{};
    made.client_connected2 = OnConnected;
    made.client_finalized = OnFinalized;
    made.abort = OnAbort;
    made.fence_nb = OnFence;
    made.direct_modex = OnDirectModex;
    made.register_events = OnRegisterEvents;
    made.deregister_events = OnDeregisterEvents;
    return made;
  }();
  return &module;
}

// ---- attributes ---------------------------------------------------------------------------------

// A list of PMIx attributes.  They live as long as the process: it serves one attempt.
class Attributes {
 public:
  void Text(const char* key, const std::string& value) { Load(key, value.c_str(), PMIX_STRING); }
  void U32(const char* key, std::uint32_t value) { Load(key, &value, PMIX_UINT32); }
  void U16(const char* key, std::uint16_t value) { Load(key, &value, PMIX_UINT16); }
  void Rank(const char* key, pmix_rank_t value) { Load(key, &value, PMIX_PROC_RANK); }
  void Bool(const char* key, bool value) { Load(key, &value, PMIX_BOOL); }
  void Regex(const char* key, const char* value) { Load(key, value, PMIX_REGEX); }
  // NOLINTNEXTLINE(readability-function-size): it is PMIx's macro that nests.
  void Array(const char* key, const Attributes& items) {
    pmix_info_t& info = Add();
    PMIX_LOAD_KEY(info.key, key);
    info.value.type = PMIX_DATA_ARRAY;
    PMIX_DATA_ARRAY_CREATE(info.value.data.darray, items.list_.size(), PMIX_INFO);
    std::memcpy(info.value.data.darray->array, items.list_.data(),
                items.list_.size() * sizeof(pmix_info_t));
  }
  pmix_info_t* data() { return list_.data(); }
  std::size_t size() const { return list_.size(); }

 private:
  pmix_info_t& Add() {
    pmix_info_t& info = list_.emplace_back();
    PMIX_INFO_CONSTRUCT(&info);
    return info;
  }
  void Load(const char* key, const void* value, pmix_data_type_t type) {
    pmix_info_t& info = Add();  // The macros name their arguments more than once.
    PMIX_INFO_LOAD(&info, key, value, type);
  }
  std::vector<pmix_info_t> list_;
};

std::string RankList(const pmix::HostRanks& host) {
  std::vector<std::string> ranks;
  for (std::uint32_t i = 0; i < host.count; ++i)
    ranks.push_back(std::to_string(host.first_rank + i));
  return Join(ranks, ",");
}

// Open MPI finds its peers' places by the maps, and its own numbers by the entry of each rank.
void AddMaps(const pmix::Register& order, Attributes& job) {
  std::vector<std::string> names, lists;
  for (const pmix::HostRanks& host : order.hosts) {
    names.push_back(host.name);
    lists.push_back(RankList(host));
  }
  char* nodes = nullptr;
  char* ranks = nullptr;
  PMIx_generate_regex(Join(names, ",").c_str(), &nodes);
  PMIx_generate_ppn(Join(lists, ";").c_str(), &ranks);
  job.Regex(PMIX_NODE_MAP, nodes);
  job.Regex(PMIX_PROC_MAP, ranks);
}

void AddRanks(const pmix::Register& order, const std::string& folder, Attributes& job) {
  for (std::uint32_t index = 0; index < order.hosts.size(); ++index) {
    const pmix::HostRanks& host = order.hosts[index];
    for (std::uint32_t local = 0; local < host.count; ++local) {
      const std::uint32_t rank = host.first_rank + local;
      Attributes one;
      one.Rank(PMIX_RANK, rank);  // First: libpmix takes what follows to be of this rank.
      one.U32(PMIX_APPNUM, 0);
      one.Rank(PMIX_APPLDR, 0);
      one.Rank(PMIX_GLOBAL_RANK, rank);
      one.Rank(PMIX_APP_RANK, rank);
      one.U16(PMIX_LOCAL_RANK, static_cast<std::uint16_t>(local));
      one.U16(PMIX_NODE_RANK, static_cast<std::uint16_t>(local));
      one.U32(PMIX_NODEID, index);
      one.Text(PMIX_HOSTNAME, host.name);
      if (index == order.host_index) one.Text(PMIX_PROCDIR, folder + "/" + std::to_string(rank));
      job.Array(PMIX_PROC_DATA, one);
    }
  }
}

Attributes JobAttributes(const pmix::Register& order, const std::string& folder) {
  const pmix::HostRanks& here = order.hosts[order.host_index];
  std::uint32_t size = 0;
  for (const pmix::HostRanks& host : order.hosts) size += host.count;
  Attributes job;
  job.U32(PMIX_UNIV_SIZE, size);
  job.U32(PMIX_MAX_PROCS, size);
  job.U32(PMIX_JOB_SIZE, size);
  job.Text(PMIX_JOBID, order.job_namespace);
  job.U32(PMIX_JOB_NUM_APPS, 1);
  job.U32(PMIX_NUM_NODES, static_cast<std::uint32_t>(order.hosts.size()));
  job.U32(PMIX_LOCAL_SIZE, here.count);
  job.U32(PMIX_NODE_SIZE, here.count);
  job.Text(PMIX_LOCAL_PEERS, RankList(here));
  job.Rank(PMIX_LOCALLDR, here.first_rank);
  job.U32(PMIX_NODEID, order.host_index);
  AddMaps(order, job);
  job.Text(PMIX_TMPDIR, folder);
  job.Text(PMIX_NSDIR, folder);
  job.Bool(PMIX_TDIR_RMCLEAN, true);
  job.Bool(PMIX_SPAWNED, false);
  AddRanks(order, folder, job);
  return job;
}

// ---- the caller's thread ------------------------------------------------------------------------

Status PmixStatus(const std::string& doing, pmix_status_t status) {
  if (status == PMIX_SUCCESS || status == PMIX_OPERATION_SUCCEEDED) return {};
  return Status(Code::kUnavailable, doing + ": " + PMIx_Error_string(status));
}

Status InitServer(const std::string& folder, const std::string& node) {
  Attributes server;
  server.Text(PMIX_SERVER_TMPDIR, folder);
  server.Text(PMIX_SYSTEM_TMPDIR, folder);
  server.Text(PMIX_SERVER_NSPACE, "muster-" + std::to_string(getpid()) + "-" + node);
  server.Rank(PMIX_SERVER_RANK, 0);
  server.Text(PMIX_HOSTNAME, node);
  return PmixStatus("PMIx_server_init", PMIx_server_init(Module(), server.data(), server.size()));
}

Status RegisterRank(const pmix::Register& order, std::uint32_t rank, pmix::RankEnvironment& out) {
  pmix_proc_t proc;
  PMIX_LOAD_PROCID(&proc, order.job_namespace.c_str(), rank);
  RETURN_IF_ERROR(PmixStatus(
      "PMIx_server_register_client",
      PMIx_server_register_client(&proc, order.uid, order.gid, nullptr, nullptr, nullptr)));
  char** environment = nullptr;
  RETURN_IF_ERROR(
      PmixStatus("PMIx_server_setup_fork", PMIx_server_setup_fork(&proc, &environment)));
  for (char** entry = environment; entry != nullptr && *entry != nullptr; ++entry) {
    out.entries.emplace_back(*entry);
  }
  return {};
}

Status RegisterAll(const pmix::Register& order, const std::string& folder,
                   pmix::Registered& answer) {
  TheShared().SetHosts(order.hosts);
  const pmix::HostRanks& here = order.hosts[order.host_index];
  Attributes job = JobAttributes(order, folder);
  RETURN_IF_ERROR(PmixStatus(
      "PMIx_server_register_nspace",
      PMIx_server_register_nspace(order.job_namespace.c_str(), static_cast<int>(here.count),
                                  job.data(), job.size(), nullptr, nullptr)));
  for (std::uint32_t local = 0; local < here.count; ++local) {
    RETURN_IF_ERROR(RegisterRank(order, here.first_rank + local, answer.ranks.emplace_back()));
  }
  return {};
}

void FinishFence(const pmix::FenceDone& done) {
  const Shared::Fence fence = TheShared().TakeFence(done.key);
  if (fence.callback == nullptr) return;
  auto* copy = static_cast<char*>(std::malloc(done.blob.size() + 1));
  CHECK(copy != nullptr);
  done.blob.copy(copy, done.blob.size());
  fence.callback(PMIX_SUCCESS, copy, done.blob.size(), fence.data, std::free, copy);
}

// One message of jobd's.  jobd gone, or a message that makes no sense: the end.
pmix::ToHelper NextMessage() {
  std::uint32_t size = 0;
  if (!ReadAll(kJobdFd, &size, sizeof size).ok()) _exit(0);
  std::string body(size, '\0');
  if (!ReadAll(kJobdFd, body.data(), body.size()).ok()) _exit(0);
  auto message = DecodeVariant<pmix::ToHelper>(body);
  CHECK(message.ok() && message->has_value());
  return **std::move(message);
}

}  // namespace

int PmixMain(const std::vector<std::string>& arguments) {
  const auto parent = arguments.size() == 3 ? ParseUnsigned(arguments[2]) : std::nullopt;
  if (!parent) {
    Log(LogLevel::kError, "pmix: expected FOLDER NODE PARENT; only jobd starts this");
    return 2;
  }
  SetLogProcess("pmix " + arguments[1]);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (static_cast<std::uint64_t>(getppid()) != *parent) return 1;
  signal(SIGPIPE, SIG_IGN);
  if (Status up = InitServer(arguments[0], arguments[1]); !up.ok()) {
    Log(LogLevel::kError, up.message());
    return 1;
  }
  TheShared().Tell(pmix::Ready{});
  for (;;) {
    const pmix::ToHelper message = NextMessage();
    if (const auto* order = std::get_if<pmix::Register>(&message)) {
      pmix::Registered answer;
      answer.error = RegisterAll(*order, arguments[0], answer).message();
      TheShared().Tell(answer);
    } else {
      FinishFence(std::get<pmix::FenceDone>(message));
    }
  }
}

}  // namespace muster
