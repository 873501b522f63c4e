#include <gtest/gtest.h>
#include <sched.h>
#include <unistd.h>

#include <filesystem>

#include "launcher/jobd/devices_posix.h"
#include "launcher/jobd/topology_hwloc.h"
#include "runtime/base/file_posix.h"

namespace muster {
namespace {

TEST(ReadCores, KnowsMachinesOfSeveralNumaNodes) {
  const auto cores = ReadCores("numa:2 core:4 pu:2");
  ASSERT_TRUE(cores.ok()) << cores.status().message();
  ASSERT_EQ(cores->size(), 8U);
  EXPECT_EQ((*cores)[0].cpus, (std::vector<std::uint32_t>{0, 1}));
  EXPECT_EQ((*cores)[3].numa, 0);
  EXPECT_EQ((*cores)[4].numa, 1);
  EXPECT_EQ(ReadCores("nonsense").status().code(), Code::kInvalid);
}

// Of this machine only what this process may use.
TEST(ReadCores, OffersNoCpuThatItMayNotUse) {
  const auto cores = ReadCores();
  ASSERT_TRUE(cores.ok()) << cores.status().message();
  ASSERT_FALSE(cores->empty());
  cpu_set_t allowed;
  ASSERT_EQ(sched_getaffinity(0, sizeof allowed, &allowed), 0);
  int cpus = 0;
  for (const Core& core : *cores) cpus += static_cast<int>(core.cpus.size());
  EXPECT_GE(cpus, CPU_COUNT(&allowed));
}

class FakeMachine : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(MakeFolders(root_).ok()); }
  void TearDown() override { EXPECT_TRUE(RemoveTree(root_).ok()); }
  void Write(const std::string& path, const std::string& text) {
    const std::string whole = root_ + path;
    ASSERT_TRUE(MakeFolders(std::filesystem::path(whole).parent_path().string()).ok());
    ASSERT_TRUE(ReplaceFile(whole, text).ok());
  }

  const std::string root_ = ::testing::TempDir() + "muster-machine-" + std::to_string(getpid());
};

TEST_F(FakeMachine, HasGpusInTheOrderOfTheirPciAddresses) {
  EXPECT_TRUE(ReadGpus(root_).empty());
  Write("/proc/driver/nvidia/gpus/0000:9B:00.0/information", "");
  Write("/proc/driver/nvidia/gpus/0000:19:00.0/information", "");
  Write("/sys/bus/pci/devices/0000:19:00.0/numa_node", "0\n");
  Write("/sys/bus/pci/devices/0000:9b:00.0/numa_node", "1\n");
  const std::vector<Device> gpus = ReadGpus(root_);
  ASSERT_EQ(gpus.size(), 2U);
  EXPECT_EQ(gpus[0].name, "0000:19:00.0");
  EXPECT_EQ(gpus[0].numa, 0);
  EXPECT_EQ(gpus[1].numa, 1);
}

TEST_F(FakeMachine, HasNicsThatAreCountedAsPeopleDo) {
  for (const char* nic : {"mlx5_10", "mlx5_9", "mlx5_0"}) {
    Write("/sys/class/infiniband/" + std::string(nic) + "/device/numa_node", "1\n");
  }
  const std::vector<Device> nics = ReadNics(root_);
  ASSERT_EQ(nics.size(), 3U);
  EXPECT_EQ(nics[0].name, "mlx5_0");
  EXPECT_EQ(nics[1].name, "mlx5_9");
  EXPECT_EQ(nics[2].name, "mlx5_10");
  EXPECT_EQ(nics[2].numa, 1);
}

TEST_F(FakeMachine, HasAtLeastOneNumaNode) {
  EXPECT_EQ(CountNumaNodes(root_), 1U);
  for (const char* node : {"node0", "node1"}) {
    Write("/sys/devices/system/node/" + std::string(node) + "/cpulist", "");
  }
  Write("/sys/devices/system/node/online", "0-1\n");
  EXPECT_EQ(CountNumaNodes(root_), 2U);
}

}  // namespace
}  // namespace muster
