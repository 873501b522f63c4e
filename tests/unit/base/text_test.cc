#include "runtime/base/text.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

TEST(Parse, TakesTheWholeTextOrNothing) {
  EXPECT_EQ(ParseUnsigned("42"), 42U);
  EXPECT_EQ(ParseUnsigned("42x"), std::nullopt);
  EXPECT_EQ(ParseUnsigned("-1"), std::nullopt);
  EXPECT_EQ(ParseUnsigned(""), std::nullopt);
  EXPECT_EQ(ParseSigned("-7"), -7);
  EXPECT_EQ(ParseDouble("1e-3"), 1e-3);
}

TEST(Nearest, FindsTheWordThatWasMeant) {
  EXPECT_EQ(Nearest("ranks_per_nodes", {"nodes", "ranks_per_node", "name"}), "ranks_per_node");
  EXPECT_EQ(Nearest("zzzzzz", {"nodes", "name"}), std::nullopt);
}

TEST(Hex, RoundTrips) {
  const auto bytes = FromHex("00ff7a");
  ASSERT_TRUE(bytes.has_value());
  EXPECT_EQ(ToHex(*bytes), "00ff7a");
  EXPECT_FALSE(FromHex("0").has_value());
  EXPECT_FALSE(FromHex("0g").has_value());
}

TEST(RunId, IsOf32LowerCaseHexadecimalDigits) {
  const std::string run = "57e3d1be7e9e4bf1179558a22aaa81cf";
  EXPECT_TRUE(IsRunId(run));
  EXPECT_FALSE(IsRunId(run + "0"));
  EXPECT_FALSE(IsRunId(run.substr(1)));
  EXPECT_FALSE(IsRunId(run.substr(1) + "F"));
  EXPECT_FALSE(IsRunId(""));
}

TEST(Split, KeepsEmptyParts) {
  EXPECT_EQ(Split("a,,b", ','), (std::vector<std::string>{"a", "", "b"}));
  EXPECT_EQ(Split("", ','), (std::vector<std::string>{""}));
  EXPECT_EQ(Join({"a", "b"}, "; "), "a; b");
}

}  // namespace
}  // namespace muster
