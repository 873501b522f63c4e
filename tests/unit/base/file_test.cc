#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "runtime/base/file_posix.h"

namespace muster {
namespace {

class ForeignFile : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(MakeFolders(folder_).ok()); }
  void TearDown() override { EXPECT_TRUE(RemoveTree(folder_).ok()); }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  const std::string folder_ = ::testing::TempDir() + "muster-file-" + std::to_string(getpid());
};

TEST_F(ForeignFile, IsReadWholeUpToItsLimit) {
  ASSERT_TRUE(ReplaceFile(Path("status"), "four").ok());
  EXPECT_EQ(*ReadForeignFile(Path("status"), 4), "four");
  EXPECT_EQ(ReadForeignFile(Path("status"), 3).status().code(), Code::kInvalid);
  EXPECT_EQ(ReadForeignFile(Path("none"), 4).status().code(), Code::kNotFound);
}

// Nobody writes to it: who opens it as usual waits for ever.
TEST_F(ForeignFile, IsNotWaitedForWhenItIsAPipe) {
  ASSERT_EQ(mkfifo(Path("status").c_str(), 0600), 0);
  EXPECT_EQ(ReadForeignFile(Path("status"), 4).status().code(), Code::kInvalid);
}

TEST_F(ForeignFile, LeadsNowhereElse) {
  ASSERT_TRUE(ReplaceFile(Path("secret"), "four").ok());
  std::filesystem::create_symlink("secret", Path("status"));
  EXPECT_FALSE(ReadForeignFile(Path("status"), 4).ok());
  EXPECT_EQ(ReadForeignFile(folder_, 4096).status().code(), Code::kInvalid);
}

}  // namespace
}  // namespace muster
