// Looking for libraries at run time: the real ones where this machine has them, and fakes.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "runtime/base/env_posix.h"
#include "runtime/comm/group_nccl.h"
#include "runtime/comm/kv_threads.h"

namespace muster {
namespace {

bool Says(const Status& status, const std::string& words) {
  return status.message().find(words) != std::string::npos;
}

bool Has(const NcclLibrary& library, const std::string& symbol) {
  return std::any_of(library.symbols().begin(), library.symbols().end(),
                     [&](const NcclSymbol& s) { return s.name == symbol && s.found; });
}

TEST(RealNccl, IsBoundAndNegotiated) {
  const auto nccl = NcclLibrary::Load();
  if (!nccl.ok()) GTEST_SKIP() << "NOT CHECKED: " << nccl.status().message();
  const auto& library = **nccl;
  EXPECT_GE(library.features().version, kNcclOldest);
  EXPECT_EQ(Has(library, "ncclCommRevoke"), library.features().version >= 22807)
      << NcclVersionText(library.features().version);
  EXPECT_EQ(Has(library, "ncclCommShrink"), library.features().version >= 22703);
  EXPECT_NE(library.path().find("libnccl"), std::string::npos);
}

TEST(RealNccl, MakesIdsWithoutAGpu) {
  const auto nccl = NcclLibrary::Load();
  if (!nccl.ok()) GTEST_SKIP() << "NOT CHECKED: " << nccl.status().message();
  const auto one = (*nccl)->MakeUniqueId();
  const auto other = (*nccl)->MakeUniqueId();
  ASSERT_TRUE(one.ok()) << one.status().message();
  ASSERT_TRUE(other.ok()) << other.status().message();
  EXPECT_NE(std::memcmp(one->bytes, other->bytes, sizeof one->bytes), 0);
}

TEST(RealNccl, ItsOwnWordsAreInTheStatus) {
  const auto nccl = NcclLibrary::Load();
  if (!nccl.ok()) GTEST_SKIP() << "NOT CHECKED: " << nccl.status().message();
  const Status status = (*nccl)->StatusOf("ncclAllReduce", kNcclRemoteError);
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_TRUE(Says(status, "ncclAllReduce: ncclRemoteError (")) << status.message();
  EXPECT_GT(status.message().size(), std::string("ncclAllReduce: ncclRemoteError ()").size());
}

// Without a driver NCCL says what is wrong, and nothing hangs; with one, GPU tests go further.
TEST(RealNccl, ACommunicatorWithoutAGpuIsAnErrorInItsWords) {
  const auto nccl = NcclLibrary::Load();
  const auto cuda = CudaLibrary::Load();
  if (!nccl.ok() || !cuda.ok()) GTEST_SKIP() << "NOT CHECKED: no NCCL or no CUDA runtime";
  if ((*cuda)->CountDevices().ok()) GTEST_SKIP() << "NOT CHECKED: this machine has a GPU";
  const auto store = std::make_shared<ThreadsStore>();
  const auto session = NcclSession::Start({.kernels = FAKE_MUSTER_CUDA}, store, {.device = 0});
  ASSERT_FALSE(session.ok());
  EXPECT_EQ(session.status().code(), Code::kUnavailable) << session.status().message();
  EXPECT_TRUE(Says(session.status(), "looking for GPUs")) << session.status().message();
  // And the error of NCCL itself, which this order of looking never reaches.
  const auto id = (*nccl)->MakeUniqueId();
  ASSERT_TRUE(id.ok());
  NcclComm comm = nullptr;
  NcclConfig config;
  NcclResult result = (*nccl)->api().comm_init_rank_config(&comm, 1, *id, 0, &config);
  const TimePoint deadline = RealClock().Now() + std::chrono::seconds(60);
  while (result == kNcclInProgress && RealClock().Now() < deadline) {
    ASSERT_EQ((*nccl)->api().comm_get_async_error(comm, &result), kNcclSuccess);
  }
  const Status status = (*nccl)->StatusOf("ncclCommInitRankConfig", result);
  EXPECT_TRUE(Says(status, "ncclUnhandledCudaError")) << status.message();
}

TEST(NcclLibrary, AFakeIsBoundLikeTheRealOne) {
  const auto nccl = NcclLibrary::Load(FAKE_NCCL);
  ASSERT_TRUE(nccl.ok()) << nccl.status().message();
  EXPECT_EQ((*nccl)->features().version, 22809);
  EXPECT_TRUE((*nccl)->features().notes.empty());
  const auto old = NcclLibrary::Load(FAKE_NCCL_218);
  ASSERT_TRUE(old.ok()) << old.status().message();
  EXPECT_FALSE((*old)->features().shrink);
  EXPECT_FALSE((*old)->features().own_memory);
  EXPECT_EQ((*old)->api().comm_revoke, nullptr);
}

TEST(NcclLibrary, ATooOldOneIsRefusedWithItsVersionAndPlace) {
  const Status status = NcclLibrary::Load(FAKE_NCCL_215).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_TRUE(Says(status, "found NCCL 2.15.5 (")) << status.message();
  EXPECT_TRUE(Says(status, "libfake_nccl_215.so")) << status.message();
}

TEST(NcclLibrary, NoneAtAllSaysWhereItWasLookedForAndWhatToDo) {
  const Status status = NcclLibrary::Load("/nonexistent/libnccl.so.2").status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_TRUE(Says(status, "/nonexistent/libnccl.so.2")) << status.message();
  EXPECT_TRUE(Says(status, "MUSTER_NCCL_LIBRARY")) << status.message();
}

TEST(NcclLibrary, WhatIsNoNcclIsRefused) {
  const Status status = NcclLibrary::Load(FAKE_CUDART).status();
  EXPECT_TRUE(Says(status, "does not say its version: it is no NCCL")) << status.message();
}

TEST(NcclLibrary, TheEnvironmentMayNameIt) {
  SetEnv("MUSTER_NCCL_LIBRARY", FAKE_NCCL_218);
  const auto nccl = NcclLibrary::Load();
  UnsetEnv("MUSTER_NCCL_LIBRARY");
  ASSERT_TRUE(nccl.ok());
  EXPECT_EQ((*nccl)->features().version, 21805);
}

TEST(CudaLibrary, WhatIsNoCudaIsRefusedWithWhatItLacks) {
  const Status missing = CudaLibrary::Load("/nonexistent/libcudart.so").status();
  EXPECT_EQ(missing.code(), Code::kUnavailable);
  EXPECT_TRUE(Says(missing, "MUSTER_CUDART_LIBRARY")) << missing.message();
  const Status wrong = CudaLibrary::Load("libm.so.6").status();
  EXPECT_TRUE(Says(wrong, "it is no CUDA runtime of 11.2 or later")) << wrong.message();
}

TEST(GpuKernels, OfAnotherMusterAreRefused) {
  const auto fake = GpuKernels::Load(FAKE_MUSTER_CUDA);
  EXPECT_TRUE(fake.ok()) << fake.status().message();
  const Status status = GpuKernels::Load(FAKE_CUDART).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_TRUE(Says(status, "is of another muster")) << status.message();
  EXPECT_TRUE(Says(GpuKernels::Load("/nonexistent.so").status(), "MUSTER_CUDA_PLUGIN"));
}

}  // namespace
}  // namespace muster
