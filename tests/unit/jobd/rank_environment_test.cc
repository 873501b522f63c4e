#include "launcher/jobd/rank_environment.h"

#include <gtest/gtest.h>

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
