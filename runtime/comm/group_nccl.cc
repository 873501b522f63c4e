#include "runtime/comm/group_nccl.h"

#include <algorithm>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/comm/nccl_engine_threads.h"
#include "runtime/comm/scratch_nccl.h"

namespace muster {
namespace {

// Rank 0 makes the id, all others wait for it.
Result<NcclUniqueId> AgreeOnId(const NcclSession::Parts& parts, const NcclGroupName& group) {
  const std::string key = group.name + "/id";
  NcclUniqueId id;
  if (group.rank == 0) {
    auto made = parts.nccl->MakeUniqueId();
    if (!made.ok()) return std::move(made).status();
    RETURN_IF_ERROR(parts.store->Set(key, std::string(made->bytes, sizeof made->bytes)));
    return *made;
  }
  auto told = parts.store->Get(key, parts.options.init_timeout);
  if (!told.ok()) {
    Status why = std::move(told).status();
    if (why.code() == Code::kDeadline)
      return Status(why.code(), "rank 0 did not come; " + why.message());
    return why;
  }
  if (told->size() != sizeof id.bytes) {
    return Status(Code::kDataLoss, "key " + key + " holds " + std::to_string(told->size()) +
                                       " bytes, which is no id of NCCL (" +
                                       std::to_string(sizeof id.bytes) + ")");
  }
  std::memcpy(id.bytes, told->data(), sizeof id.bytes);
  return id;
}

class NcclBackend final : public Backend {
 public:
  NcclBackend(const NcclSession::Parts& parts, const NcclGroupName& group)
      : Backend(group.rank, group.ranks), parts_(parts), engine_(parts, group, abort_) {}

  const char* name() const override { return "nccl"; }
  bool streams() const override { return true; }
  Status Run(const Call& call) override { return engine_.Run(call); }
  std::unique_ptr<Work> Start(const Call& call) override { return engine_.Start(call); }

  Status Open() {
    auto id = AgreeOnId(parts_, engine_.group());
    if (!id.ok()) return std::move(id).status();
    return engine_.Open(*id);
  }

  Result<void*> Allocate(std::size_t bytes) override { return engine_.Allocate(bytes); }

  Result<std::unique_ptr<Backend>> Split(const SplitPlan& plan) override {
    const bool in = !plan.members.empty();
    auto part = engine_.Split(in ? static_cast<int>(plan.color) : kNcclNoColor, plan.rank);
    if (!part.ok()) return std::move(part).status();
    if (!in) return std::unique_ptr<Backend>();
    const NcclGroupName group{.name = engine_.group().name + "." + std::to_string(plan.seq) + "." +
                                      std::to_string(plan.color),
                              .rank = plan.rank,
                              .ranks = static_cast<int>(plan.members.size())};
    return Made(group, *std::move(part));
  }

  Result<std::unique_ptr<Backend>> Shrink(std::span<const int> lost) override {
    const auto& whole = engine_.group();
    NcclGroupName group{.name = whole.name + "~",
                        .ranks = whole.ranks - static_cast<int>(lost.size())};
    for (const int r : lost) {
      group.name += std::to_string(r) + "~";
      if (r < whole.rank) --group.rank;
    }
    group.rank += whole.rank;
    auto part = engine_.Shrink(lost);
    if (!part.ok()) return std::move(part).status();
    if (*part != nullptr) return Made(group, *std::move(part));
    auto backend = std::make_unique<NcclBackend>(parts_, group);
    RETURN_IF_ERROR(backend->Open());
    return std::unique_ptr<Backend>(std::move(backend));
  }

 protected:
  void Wake() override { engine_.Abort(abort_.reason()); }

 private:
  std::unique_ptr<Backend> Made(const NcclGroupName& group,
                                std::shared_ptr<Communicator> communicator) {
    auto backend = std::make_unique<NcclBackend>(parts_, group);
    backend->engine_.Open(std::move(communicator));
    return backend;
  }

  const NcclSession::Parts parts_;
  NcclEngine engine_;
};

}  // namespace

Result<std::unique_ptr<NcclSession>> NcclSession::Start(const Paths& paths,
                                                        std::shared_ptr<KeyValueStore> store,
                                                        NcclOptions options) {
  Parts parts{.store = std::move(store), .options = std::move(options)};
  auto cuda = CudaLibrary::Load(paths.cuda);
  if (!cuda.ok()) return std::move(cuda).status();
  parts.cuda = *std::move(cuda);
  auto nccl = NcclLibrary::Load(paths.nccl);
  if (!nccl.ok()) return std::move(nccl).status();
  parts.nccl = *std::move(nccl);
  auto kernels = GpuKernels::Load(paths.kernels);
  if (kernels.ok()) {
    parts.kernels = *std::move(kernels);
  } else if (parts.options.reductions == NcclOptions::Reductions::kRankOrder) {
    return std::move(kernels).status().While("reductions in the order of the ranks");
  }
  auto devices = parts.cuda->CountDevices();
  if (!devices.ok()) return std::move(devices).status();
  if (parts.options.device < 0 || parts.options.device >= *devices) {
    return Status(Code::kInvalid, "GPU " + std::to_string(parts.options.device) +
                                      " was asked for; this process sees " +
                                      std::to_string(*devices) + " (CUDA_VISIBLE_DEVICES), from 0");
  }
  parts.scratch = std::make_shared<Scratch>(parts.cuda);
  return std::unique_ptr<NcclSession>(new NcclSession(std::move(parts)));
}

Result<std::unique_ptr<ProcessGroup>> NcclSession::World(const std::string& name, int rank,
                                                         int ranks, Duration timeout) {
  CHECK(rank >= 0 && rank < ranks);
  auto backend = std::make_unique<NcclBackend>(
      parts_, NcclGroupName{.name = "nccl/" + name, .rank = rank, .ranks = ranks});
  Status opened = backend->Open();
  if (!opened.ok()) return std::move(opened).While("NCCL group " + name);
  return std::make_unique<ProcessGroup>(std::move(backend), timeout);
}

}  // namespace muster
