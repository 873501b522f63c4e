#include "runtime/base/wire.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

struct Inner {
  std::uint16_t a = 0;
  std::string b;
  bool operator==(const Inner&) const = default;
  template <typename Archive>
  void Fields(Archive& archive) {
    archive(a, b);
  }
};

struct Old {
  std::int64_t number = 0;
  std::vector<Inner> inner;
  bool operator==(const Old&) const = default;
  template <typename Archive>
  void Fields(Archive& archive) {
    archive(number, inner);
  }
};

struct New {
  std::int64_t number = 0;
  std::vector<Inner> inner;
  std::map<std::string, double> more;
  std::optional<bool> flag;
  bool operator==(const New&) const = default;
  template <typename Archive>
  void Fields(Archive& archive) {
    archive(number, inner, more, flag);
  }
};

const New kMessage{.number = -5, .inner = {{1, "x"}, {2, ""}}, .more = {{"k", 0.5}}, .flag = true};

TEST(Wire, RoundTripsEveryKindOfMember) {
  const auto decoded = DecodeWire<New>(EncodeWire(kMessage));
  ASSERT_TRUE(decoded.ok());
  EXPECT_EQ(*decoded, kMessage);
}

TEST(Wire, OlderAndNewerPeersUnderstandEachOther) {
  const auto old = DecodeWire<Old>(EncodeWire(kMessage));
  ASSERT_TRUE(old.ok());
  EXPECT_EQ(old->inner, kMessage.inner);
  const auto from_old = DecodeWire<New>(EncodeWire(*old));
  ASSERT_TRUE(from_old.ok());
  EXPECT_EQ(from_old->number, -5);
  EXPECT_TRUE(from_old->more.empty());
}

TEST(Wire, EveryCutInsideAMemberIsRefusedOrLeavesDefaults) {
  const std::string bytes = EncodeWire(kMessage);
  std::size_t refused = 0;
  for (std::size_t n = 0; n < bytes.size(); ++n) {
    if (!DecodeWire<New>(std::string_view(bytes).substr(0, n)).ok()) ++refused;
  }
  EXPECT_EQ(refused, bytes.size() - 4) << "only the four ends of members may pass";
}

TEST(Wire, AHugeLengthIsRefusedBeforeMemoryIsTaken) {
  const std::string bytes("\0\0\0\0\0\0\0\0\xff\xff\xff\xff", 12);
  EXPECT_FALSE(DecodeWire<Old>(bytes).ok());
}

TEST(WireVariant, SkipsAnUnknownKind) {
  using Small = std::variant<Inner>;
  using Large = std::variant<Inner, Old>;
  const auto known = DecodeVariant<Small>(EncodeVariant(Large(Inner{3, "y"})));
  ASSERT_TRUE(known.ok());
  EXPECT_EQ(std::get<Inner>(**known), (Inner{3, "y"}));
  const auto unknown = DecodeVariant<Small>(EncodeVariant(Large(Old{})));
  ASSERT_TRUE(unknown.ok());
  EXPECT_FALSE(unknown->has_value());
}

}  // namespace
}  // namespace muster
