// The one conformance suite over the real NCCL: ranks are threads, each with a GPU of its own.
#include <algorithm>
#include <functional>
#include <thread>

#include "runtime/base/mutex.h"
#include "runtime/comm/kv_threads.h"
#include "tests/integration/gpu/gpu_check.h"
#include "tests/unit/comm/conformance.h"

namespace muster::gpu {
namespace {

using Body = std::function<void(ProcessGroup&, testing::Complaints&)>;

void RunRanks(int ranks, const NcclOptions& options, const std::string& what, const Body& body,
              Table& table) {
  const auto store = std::make_shared<ThreadsStore>();
  Mutex mutex;
  testing::Complaints all;
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < ranks; ++rank) {
      threads.emplace_back([&, rank] {
        testing::Complaints complaints;
        NcclOptions own = options;
        own.device = rank;
        auto session = NcclSession::Start({}, store, own);
        testing::ExpectOk(session.status(), "the session", complaints);
        if (session.ok()) {
          auto group = (*session)->World("check", rank, ranks);
          testing::ExpectOk(group.status(), "the group", complaints);
          if (group.ok()) body(**group, complaints);
        }
        MutexLock lock(mutex);
        all.insert(all.end(), complaints.begin(), complaints.end());
      });
    }
  }
  table.push_back({"NCCL, " + std::to_string(ranks) + (ranks == 1 ? " rank: " : " ranks: ") + what,
                   all.empty() ? "held" : std::to_string(all.size()) + " broken, first: " + all[0],
                   all.empty()});
}

// Memory of the GPU through the verbs, in place and not.
void CheckDevice(const Libraries& libraries, ProcessGroup& group, testing::Complaints& complaints) {
  constexpr std::size_t kCount = 100'003;
  void* memory = nullptr;
  MustCuda(libraries, libraries.cuda->api().set_device(group.rank()), "choosing the GPU");
  MustCuda(libraries, libraries.cuda->api().malloc(&memory, kCount * 4), "memory of the GPU");
  const Buffer on_gpu(memory, kCount, DType::kF32);
  std::vector<float> values(kCount, 0.5F);
  testing::ExpectOk(group.all_reduce(values, on_gpu, ReduceOp::kSum), "all_reduce", complaints);
  testing::ExpectOk(group.all_reduce(on_gpu, ReduceOp::kAvg), "all_reduce", complaints);
  testing::ExpectOk(group.all_reduce(on_gpu, values, ReduceOp::kMax), "all_reduce", complaints);
  const auto n = static_cast<float>(group.world_size());
  testing::Expect(values == std::vector<float>(kCount, 0.5F * n), "GPU memory works in place",
                  complaints);
  testing::ExpectOk(group.barrier(), "barrier", complaints);
  MustCuda(libraries, libraries.cuda->api().free(memory), "giving memory back");
}

}  // namespace

void CheckGroups(const Libraries& libraries, Table& table) {
  const int most = std::min(libraries.devices, 8);
  for (const int ranks : {1, 2, most}) {
    if (ranks > most || (ranks == 2 && most == 2)) continue;
    if (ranks == most && ranks == 1 && table.back().what.starts_with("NCCL")) continue;
    RunRanks(
        ranks, {}, "conformance suite, order of the ranks",
        [](ProcessGroup& group, testing::Complaints& complaints) {
          complaints = testing::BrokenPromises(group);
        },
        table);
    RunRanks(
        ranks, {.reductions = NcclOptions::Reductions::kLibrary}, "reductions, NCCL's own order",
        [](ProcessGroup& group, testing::Complaints& complaints) {
          testing::CheckReductions(group, {.own_order = true}, complaints);
        },
        table);
    RunRanks(
        ranks, {}, "memory of the GPU in place",
        [&](ProcessGroup& group, testing::Complaints& complaints) {
          CheckDevice(libraries, group, complaints);
        },
        table);
  }
  if (most == 1)
    table.push_back({"NCCL, several ranks", "NOT CHECKED: one GPU, and one GPU a rank"});
}

}  // namespace muster::gpu
