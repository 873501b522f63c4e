#include "runtime/client/environment_posix.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>

#include "runtime/base/env_posix.h"
#include "runtime/base/rank_posix.h"

namespace muster {
namespace {

class ClientEnvironment : public ::testing::Test {
 protected:
  void TearDown() override { Set({}); }
  void Set(const std::map<std::string, std::string>& variables) {
    for (const auto& [name, value] : set_) UnsetEnv(name);
    set_ = variables;
    for (const auto& [name, value] : set_) SetEnv(name, value);
  }
  static muster_environment Read() {
    muster_environment who;
    muster_read_environment(&who);
    return who;
  }
  std::map<std::string, std::string> set_;
  const std::map<std::string, std::string> ours_ = {
      {"MUSTER_RANK", "5"},          {"MUSTER_WORLD_SIZE", "8"},
      {"MUSTER_LOCAL_RANK", "1"},    {"MUSTER_LOCAL_WORLD_SIZE", "4"},
      {"MUSTER_NODE_RANK", "1"},     {"MUSTER_NUM_NODES", "2"},
      {"MUSTER_ATTEMPT", "3"},       {"MUSTER_JOB_ID", "17"},
      {"MUSTER_RUN_ID", "abc"},      {"MUSTER_LINK_FD", "9"},
      {"MUSTER_LINK_TOKEN", "token"}};
};

// The C library and libmuster read the same variables the same way.
TEST_F(ClientEnvironment, ReadsWhatLibmusterReads) {
  Set(ours_);
  const auto theirs = WhoAmI();
  ASSERT_TRUE(theirs.ok());
  const muster_environment who = Read();
  EXPECT_EQ(who.rank, theirs->rank);
  EXPECT_EQ(who.world_size, theirs->world_size);
  EXPECT_EQ(who.local_rank, theirs->local_rank);
  EXPECT_EQ(who.local_world_size, theirs->local_world_size);
  EXPECT_EQ(who.node_rank, theirs->node_rank);
  EXPECT_EQ(who.num_nodes, theirs->num_nodes);
  EXPECT_EQ(static_cast<std::uint32_t>(who.attempt), theirs->attempt);
  EXPECT_EQ(who.job_id, theirs->job_id);
  EXPECT_EQ(who.run_id, theirs->run_id);
  EXPECT_EQ(who.link_fd, *theirs->link_fd);
  EXPECT_EQ(who.link_token, theirs->link_token);
  EXPECT_STREQ(who.complaint, "");
}

TEST_F(ClientEnvironment, WithoutALauncherTheProcessIsAlone) {
  const muster_environment who = Read();
  EXPECT_EQ(who.rank, 0);
  EXPECT_EQ(who.world_size, 1);
  EXPECT_EQ(who.link_fd, -1);
  EXPECT_STREQ(who.job_id, "");
  EXPECT_STREQ(who.complaint, "");
}

TEST_F(ClientEnvironment, UnderTorchrunAndMpirunItSaysWhatTheySay) {
  Set({{"RANK", "3"}, {"WORLD_SIZE", "4"}, {"LOCAL_RANK", "1"}, {"LOCAL_WORLD_SIZE", "2"}});
  EXPECT_EQ(Read().rank, 3);
  EXPECT_EQ(Read().local_world_size, 2);
  Set({{"OMPI_COMM_WORLD_RANK", "2"}, {"OMPI_COMM_WORLD_SIZE", "6"}});
  EXPECT_EQ(Read().rank, 2);
  EXPECT_EQ(Read().world_size, 6);
  EXPECT_EQ(Read().link_fd, -1);
}

TEST_F(ClientEnvironment, NamesTheVariableThatMakesNoSense) {
  for (const char* wrong : {"8", "-1", "x", "", "1 ", "99999999999999999999"}) {
    auto variables = ours_;
    variables["MUSTER_RANK"] = wrong;
    Set(variables);
    const muster_environment who = Read();
    EXPECT_NE(std::strstr(who.complaint, "MUSTER_RANK is \""), nullptr) << wrong;
    EXPECT_NE(std::strstr(who.complaint, "from 0 to 7"), nullptr) << who.complaint;
    EXPECT_EQ(who.world_size, 1);
    EXPECT_EQ(who.link_fd, -1);
  }
}

TEST_F(ClientEnvironment, CutsWhatIsTooLong) {
  auto variables = ours_;
  variables["MUSTER_RUN_ID"] = std::string(1000, 'r');
  variables["MUSTER_LINK_TOKEN"] = std::string(1000, 't');
  Set(variables);
  EXPECT_EQ(std::strlen(Read().run_id), sizeof(muster_environment::run_id) - 1);
  EXPECT_EQ(std::strlen(Read().link_token), sizeof(muster_environment::link_token) - 1);
}

}  // namespace
}  // namespace muster
