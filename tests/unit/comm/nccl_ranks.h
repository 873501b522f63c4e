// Ranks that are threads, over the fake CUDA and a fake NCCL.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <thread>
#include <vector>

#include "runtime/base/dynamic_library_posix.h"
#include "runtime/comm/group_nccl.h"
#include "runtime/comm/kv_threads.h"
#include "tests/fakes/fake_nccl.h"

namespace muster::testing {

// The functions that the fakes have for tests: the libraries are loaded, not linked.
class Fakes {
 public:
  explicit Fakes(std::string nccl) : nccl_(std::move(nccl)) {}

  void Plant(FakeNcclFault fault, int ranks, int rank, int after) const {
    Find<decltype(fake_nccl_plant)>(nccl_, "fake_nccl_plant")(fault, ranks, rank, after);
  }
  int living() const { return Find<decltype(fake_nccl_living)>(nccl_, "fake_nccl_living")(); }
  static std::string Violations() {
    return Find<decltype(fake_cuda_violations)>(FAKE_CUDART, "fake_cuda_violations")();
  }
  static void ForgetViolations() {
    Find<decltype(fake_cuda_forget_violations)>(FAKE_CUDART, "fake_cuda_forget_violations")();
  }
  const std::string& nccl() const { return nccl_; }

 private:
  template <typename Function>
  static Function* Find(const std::string& path, const char* name) {
    auto library = DynamicLibrary::Open(std::vector{path});
    CHECK(library.ok());
    return reinterpret_cast<Function*>(library->Find(name));
  }

  const std::string nccl_;
};

struct Rank {
  NcclSession& session;
  ThreadsStore& store;
  int rank = 0;
};

// Runs `body` as each rank, on a GPU of its own.
inline void RunNcclRanks(const Fakes& fakes, int ranks, const NcclOptions& options,
                         const std::function<void(Rank)>& body) {
  const auto store = std::make_shared<ThreadsStore>();
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < ranks; ++rank) {
    threads.emplace_back([&, rank] {
      NcclOptions own = options;
      own.device = rank;
      auto session = NcclSession::Start(
          {.nccl = fakes.nccl(), .cuda = FAKE_CUDART, .kernels = FAKE_MUSTER_CUDA}, store, own);
      ASSERT_TRUE(session.ok()) << session.status().message();
      body({.session = **session, .store = *store, .rank = rank});
    });
  }
}

}  // namespace muster::testing
