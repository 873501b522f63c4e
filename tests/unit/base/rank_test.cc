#include <gtest/gtest.h>

#include <map>

#include "runtime/base/rank_posix.h"

namespace muster {
namespace {

using Variables = std::map<std::string, std::string>;

EnvLookup Of(const Variables& variables) {
  return [&variables](const std::string& name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    if (it == variables.end()) return std::nullopt;
    return it->second;
  };
}

const Variables kMuster = {{"MUSTER_RANK", "5"},           {"MUSTER_WORLD_SIZE", "16"},
                           {"MUSTER_LOCAL_RANK", "1"},     {"MUSTER_LOCAL_WORLD_SIZE", "4"},
                           {"MUSTER_NODE_RANK", "1"},      {"MUSTER_NUM_NODES", "4"},
                           {"MUSTER_ATTEMPT", "2"},        {"MUSTER_JOB_ID", "j7"},
                           {"MUSTER_RUN_ID", "abc"},       {"MUSTER_LINK_FD", "9"},
                           {"MUSTER_LINK_TOKEN", "token"}, {"OMPI_COMM_WORLD_RANK", "3"}};

TEST(RankInfo, MusterSaysEverythingAndGoesBeforeMpirun) {
  const auto info = ReadRankInfo(Of(kMuster));
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(*info, (RankInfo{.launcher = Launcher::kMuster,
                             .rank = 5,
                             .world_size = 16,
                             .local_rank = 1,
                             .local_world_size = 4,
                             .node_rank = 1,
                             .num_nodes = 4,
                             .attempt = 2,
                             .job_id = "j7",
                             .run_id = "abc",
                             .link_fd = 9,
                             .link_token = "token"}));
}

TEST(RankInfo, MpirunSaysAllButTheNodes) {
  const Variables variables = {{"OMPI_COMM_WORLD_RANK", "3"},
                               {"OMPI_COMM_WORLD_SIZE", "4"},
                               {"OMPI_COMM_WORLD_LOCAL_RANK", "1"},
                               {"OMPI_COMM_WORLD_LOCAL_SIZE", "2"}};
  const auto info = ReadRankInfo(Of(variables));
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(info->launcher, Launcher::kMpirun);
  EXPECT_EQ(info->rank, 3);
  EXPECT_EQ(info->local_world_size, 2);
  EXPECT_EQ(info->num_nodes, 0);
}

TEST(RankInfo, NothingMeansAlone) {
  const auto info = ReadRankInfo(Of({}));
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(*info, RankInfo{});
}

TEST(RankInfo, ABadVariableIsNamedWithWhatItIsAndWhatItMayBe) {
  for (const auto& [name, value, found] :
       {std::tuple{"MUSTER_RANK", "16", "MUSTER_RANK is \"16\""},
        {"MUSTER_WORLD_SIZE", "many", "MUSTER_WORLD_SIZE is \"many\""},
        {"MUSTER_LINK_FD", "-1", "MUSTER_LINK_FD is \"-1\""}}) {
    Variables variables = kMuster;
    variables[name] = value;
    const Status status = ReadRankInfo(Of(variables)).status();
    EXPECT_EQ(status.code(), Code::kInvalid);
    EXPECT_NE(status.message().find(found), std::string::npos) << status.message();
  }
  Variables missing = kMuster;
  missing.erase("MUSTER_NODE_RANK");
  EXPECT_NE(ReadRankInfo(Of(missing)).status().message().find("MUSTER_NODE_RANK is missing"),
            std::string::npos);
}

}  // namespace
}  // namespace muster
