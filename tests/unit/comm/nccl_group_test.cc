// The group over NCCL does what every group must do, over fakes of several versions.
#include <tuple>

#include "tests/unit/comm/conformance.h"
#include "tests/unit/comm/nccl_ranks.h"

namespace muster::testing {
namespace {

using Reductions = NcclOptions::Reductions;

class EveryNccl : public ::testing::TestWithParam<std::tuple<const char*, int>> {
 protected:
  void TearDown() override {
    EXPECT_EQ(Fakes::Violations(), "");
    Fakes::ForgetViolations();
  }
};

TEST_P(EveryNccl, GroupKeepsItsPromises) {
  const auto [library, ranks] = GetParam();
  const Fakes fakes(library);
  RunNcclRanks(fakes, ranks, {}, [&, ranks = ranks](Rank rank) {
    auto group = rank.session.World("w", rank.rank, ranks);
    ASSERT_TRUE(group.ok()) << group.status().message();
    for (const std::string& broken : BrokenPromises(**group)) {
      ADD_FAILURE() << "rank " << rank.rank << " of " << ranks << ": " << broken;
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Versions, EveryNccl,
                         ::testing::Values(std::tuple(FAKE_NCCL, 1), std::tuple(FAKE_NCCL, 2),
                                           std::tuple(FAKE_NCCL, 3), std::tuple(FAKE_NCCL_218, 5)));

// The fake sums from the last rank to the first: the bits differ, the values do not.
TEST(NcclGroup, ReductionsOfTheLibraryAreTheLibrarys) {
  const Fakes fakes(FAKE_NCCL);
  constexpr int kRanks = 3;
  RunNcclRanks(fakes, kRanks, {.reductions = Reductions::kLibrary}, [](Rank rank) {
    auto group = rank.session.World("w", rank.rank, kRanks);
    ASSERT_TRUE(group.ok()) << group.status().message();
    Complaints complaints;
    CheckReductions(**group, {.own_order = true}, complaints);
    for (const std::string& broken : complaints) ADD_FAILURE() << broken;
    // 1e8 + 1 - 1e8 is 0 from the left, and 1 from the right (of f32).
    std::vector<float> in = {rank.rank == 0 ? 1e8F : rank.rank == 1 ? -1e8F : 1.0F};
    ASSERT_TRUE((*group)->all_reduce(in, ReduceOp::kSum).ok());
    EXPECT_EQ(in[0], 0.0F);
  });
  EXPECT_EQ(Fakes::Violations(), "");
}

// Memory of the GPU is used where it lies: the host touches none of it (the fake would end the
// test).
TEST(NcclGroup, MemoryOfTheGpuIsUsedWhereItLies) {
  const Fakes fakes(FAKE_NCCL);
  constexpr int kRanks = 2;
  constexpr std::size_t kCount = 1000;
  RunNcclRanks(fakes, kRanks, {}, [](Rank rank) {
    auto group = rank.session.World("w", rank.rank, kRanks);
    ASSERT_TRUE(group.ok()) << group.status().message();
    const auto cuda = CudaLibrary::Load(FAKE_CUDART);
    ASSERT_TRUE(cuda.ok());
    void* memory = nullptr;
    ASSERT_EQ((*cuda)->api().malloc(&memory, kCount * sizeof(float)), kCudaSuccess);
    const Buffer on_gpu(memory, kCount, DType::kF32);
    // From the host to the GPU and back through the group itself.
    std::vector<float> mine(kCount, 1.5F);
    std::vector<float> all(kCount);
    ASSERT_TRUE((*group)->all_reduce(mine, on_gpu, ReduceOp::kSum).ok());
    ASSERT_TRUE((*group)->all_reduce(on_gpu, ReduceOp::kSum).ok());
    ASSERT_TRUE((*group)->all_reduce(on_gpu, all, ReduceOp::kMax).ok());
    EXPECT_EQ(all, std::vector<float>(kCount, 6.0F));
    ASSERT_TRUE((*group)->barrier().ok());
    ASSERT_EQ((*cuda)->api().free(memory), kCudaSuccess);
  });
  EXPECT_EQ(Fakes::Violations(), "");
}

TEST(NcclGroup, CallsBeginBehindTheProgramsStream) {
  const Fakes fakes(FAKE_NCCL);
  const auto cuda = CudaLibrary::Load(FAKE_CUDART);
  ASSERT_TRUE(cuda.ok());
  const CudaApi& api = (*cuda)->api();
  CudaStream stream = nullptr;
  void* from = nullptr;
  void* to = nullptr;
  ASSERT_EQ(api.stream_create_with_flags(&stream, 0), kCudaSuccess);
  ASSERT_EQ(api.host_alloc(&from, sizeof(float), 0), kCudaSuccess);
  ASSERT_EQ(api.malloc(&to, sizeof(float)), kCudaSuccess);
  *static_cast<float*>(from) = 4.5F;
  RunNcclRanks(fakes, 1, {.after_stream = stream}, [&](Rank rank) {
    auto group = rank.session.World("w", 0, 1);
    ASSERT_TRUE(group.ok()) << group.status().message();
    ASSERT_EQ(api.memcpy_async(to, from, sizeof(float), kCudaMemcpyDefault, stream), kCudaSuccess);
    std::vector<float> out(1);
    ASSERT_TRUE((*group)->all_reduce(Buffer(to, 1, DType::kF32), out, ReduceOp::kSum).ok());
    EXPECT_EQ(out[0], 4.5F);
  });
  EXPECT_EQ(Fakes::Violations(), "");
}

class EveryMemory : public ::testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Versions, EveryMemory, ::testing::Values(FAKE_NCCL, FAKE_NCCL_218));

TEST_P(EveryMemory, OfTheGroupWorksAsABuffer) {
  const Fakes fakes(GetParam());
  RunNcclRanks(fakes, 2, {}, [](Rank rank) {
    auto group = rank.session.World("w", rank.rank, 2);
    ASSERT_TRUE(group.ok()) << group.status().message();
    const auto memory = (*group)->allocate(5000);
    ASSERT_TRUE(memory.ok()) << memory.status().message();
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(*memory) % kNcclWindowAlignment, 0U);
    std::vector<std::int32_t> values(1250, rank.rank + 1);
    const Buffer buffer(*memory, 1250, DType::kI32);
    ASSERT_TRUE((*group)->all_reduce(values, buffer, ReduceOp::kSum).ok());
    ASSERT_TRUE((*group)->all_reduce(buffer, values, ReduceOp::kProd).ok());
    EXPECT_EQ(values, std::vector<std::int32_t>(1250, 9));
  });
  EXPECT_EQ(Fakes::Violations(), "");
}

TEST(NcclGroup, NothingIsLeftOfAGroupThatWasClosed) {
  const Fakes fakes(FAKE_NCCL);
  const int before = fakes.living();
  RunNcclRanks(fakes, 2, {}, [](Rank rank) {
    auto group = rank.session.World("w", rank.rank, 2);
    ASSERT_TRUE(group.ok()) << group.status().message();
    ASSERT_TRUE((*group)->barrier().ok());
  });
  EXPECT_EQ(fakes.living(), before);
}

TEST(NcclSession, AGpuThatIsNotThereIsRefused) {
  const auto store = std::make_shared<ThreadsStore>();
  const auto session = NcclSession::Start(
      {.nccl = FAKE_NCCL, .cuda = FAKE_CUDART, .kernels = FAKE_MUSTER_CUDA}, store, {.device = 8});
  EXPECT_EQ(session.status().code(), Code::kInvalid);
  EXPECT_EQ(session.status().message(),
            "GPU 8 was asked for; this process sees 8 (CUDA_VISIBLE_DEVICES), from 0");
}

TEST(NcclSession, OrderedReductionsNeedOurKernels) {
  const auto store = std::make_shared<ThreadsStore>();
  const NcclSession::Paths paths{.nccl = FAKE_NCCL, .cuda = FAKE_CUDART, .kernels = "/none.so"};
  const Status status = NcclSession::Start(paths, store, {}).status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_NE(status.message().find("reductions in the order of the ranks: no GPU kernels"),
            std::string::npos)
      << status.message();
  EXPECT_TRUE(NcclSession::Start(paths, store, {.reductions = Reductions::kLibrary}).ok());
}

}  // namespace
}  // namespace muster::testing
