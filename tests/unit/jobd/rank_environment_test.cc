#include "launcher/jobd/rank_environment.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

namespace muster {
namespace {

// What rank 0 of two sees, when its job's environment is `given`.
class Seen {
 public:
  explicit Seen(const std::vector<std::string>& given) {
    StartAttempt order{.job = 1};
    order.program.environment = given;
    for (std::uint32_t host = 0; host < 2; ++host) {
      order.hosts.push_back({.node = "n" + std::to_string(host), .first_rank = host, .slots = {0}});
    }
    entries_ = RankEnvironment(order, 0, {.cores = 2, .ranks_here = 1});
  }

  std::optional<std::string> Of(const std::string& name) const {
    for (const std::string& entry : entries_) {
      if (entry.starts_with(name + "=")) return entry.substr(name.size() + 1);
    }
    return std::nullopt;
  }

 private:
  std::vector<std::string> entries_;
};

TEST(RankEnvironment, StartsMpiLean) {
  const Seen seen({});
  EXPECT_EQ(seen.Of("OMPI_MCA_pml"), "ob1");
  EXPECT_EQ(seen.Of("HWLOC_COMPONENTS"), "-pci,-linuxio");
  EXPECT_EQ(seen.Of("HWLOC_PLUGINS_PATH"), "/dev/null");
}

TEST(RankEnvironment, NamesTheStoreOfThisJobAndOfNoOther) {
  StartAttempt order{.job = 1, .hosts = {{.node = "n0", .slots = {0}}}};
  order.program.environment = {"MUSTER_CHECKPOINT_STORE=/of/an/outer/job",
                               "MUSTER_CHECKPOINT_DEADLINE_MS=1"};
  const auto names = [&](const std::string& entry) {
    const auto entries = RankEnvironment(order, 0, {.cores = 2, .ranks_here = 1});
    return std::any_of(entries.begin(), entries.end(),
                       [&](const std::string& e) { return e.starts_with(entry); });
  };
  EXPECT_FALSE(names("MUSTER_CHECKPOINT_STORE="));
  EXPECT_FALSE(names("MUSTER_CHECKPOINT_DEADLINE_MS="));
  order.checkpoint = {.store = "/share", .deadline_ms = 5000};
  EXPECT_TRUE(names("MUSTER_CHECKPOINT_STORE=/share"));
  EXPECT_TRUE(names("MUSTER_CHECKPOINT_DEADLINE_MS=5000"));
}

// Whoever asks hwloc for devices needs its plug-ins: one is for PCI.
TEST(RankEnvironment, LeavesHwlocToAJobThatChoseForItself) {
  const Seen components({"HWLOC_COMPONENTS=pci"});
  EXPECT_EQ(components.Of("HWLOC_COMPONENTS"), "pci");
  EXPECT_EQ(components.Of("HWLOC_PLUGINS_PATH"), std::nullopt);
  const Seen plugins({"HWLOC_PLUGINS_PATH=/opt/hwloc"});
  EXPECT_EQ(plugins.Of("HWLOC_COMPONENTS"), std::nullopt);
  EXPECT_EQ(plugins.Of("HWLOC_PLUGINS_PATH"), "/opt/hwloc");
  EXPECT_EQ(Seen({"OMPI_MCA_pml=ucx"}).Of("OMPI_MCA_pml"), "ucx");
}

// Local rank 1 of three, on slots 1, 3 and 6 of a node.
std::vector<std::string> OnSlots(GpuView view, std::uint32_t gpus, std::uint32_t bound = 0) {
  StartAttempt order{.job = 1, .hosts = {{.node = "n0", .slots = {1, 3, 6}}}};
  order.program.environment = {"CUDA_VISIBLE_DEVICES=0"};
  order.launch.gpu_view = view;
  return RankEnvironment(order, 1,
                         {.cores = 16, .ranks_here = 3, .bound_cores = bound, .gpus = gpus});
}

bool Has(const std::vector<std::string>& entries, const std::string& entry) {
  return std::find(entries.begin(), entries.end(), entry) != entries.end();
}

TEST(RankEnvironment, ShowsTheGpusThatWerePlaced) {
  EXPECT_TRUE(Has(OnSlots(GpuView::kNode, 8), "CUDA_VISIBLE_DEVICES=1,3,6"));
  EXPECT_TRUE(Has(OnSlots(GpuView::kNode, 8), "CUDA_DEVICE_ORDER=PCI_BUS_ID"));
  EXPECT_TRUE(Has(OnSlots(GpuView::kRank, 8), "CUDA_VISIBLE_DEVICES=3"));
  EXPECT_TRUE(Has(OnSlots(GpuView::kNode, 0), "CUDA_VISIBLE_DEVICES=0"));
}

TEST(RankEnvironment, GivesARankAsManyThreadsAsItHasCores) {
  EXPECT_TRUE(Has(OnSlots(GpuView::kNode, 0), "OMP_NUM_THREADS=5"));
  EXPECT_TRUE(Has(OnSlots(GpuView::kNode, 0, 4), "OMP_NUM_THREADS=4"));
  EXPECT_TRUE(Has(OnSlots(GpuView::kNode, 0, 8), "OMP_NUM_THREADS=5"));
  EXPECT_EQ(Seen({}).Of("OMP_NUM_THREADS"), std::nullopt);  // It has the machine for itself.
}

TEST(RankEnvironment, AnOuterMpirunsSettingsStayOutside) {
  const Seen alone({"OMPI_MCA_coll=tuned", "PMIX_RANK=7"});
  EXPECT_EQ(alone.Of("OMPI_MCA_coll"), "tuned");
  EXPECT_EQ(alone.Of("PMIX_RANK"), std::nullopt);
  const Seen inside({"OMPI_COMM_WORLD_SIZE=4", "OMPI_MCA_coll=tuned"});
  EXPECT_EQ(inside.Of("OMPI_MCA_coll"), std::nullopt);
  EXPECT_EQ(inside.Of("OMPI_COMM_WORLD_SIZE"), std::nullopt);
}

}  // namespace
}  // namespace muster
