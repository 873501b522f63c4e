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

// Peers of two versions: the struct inside grew.
struct OldPolicy {
  std::string store;
  std::uint32_t keep = 3;
  template <typename Archive>
  void Fields(Archive& archive) {
    archive(store, keep);
  }
};
struct NewPolicy {
  std::string store;
  std::uint32_t keep = 3;
  std::string rules = "default";
  std::vector<std::string> metadata;
  template <typename Archive>
  void Fields(Archive& archive) {
    archive(store, keep, rules, metadata);
  }
};
template <typename Policy>
struct Start {
  Policy policy;
  std::vector<Policy> each;
  std::map<int, Policy> by_node;
  std::optional<Policy> own;
  std::uint64_t behind = 0;
  template <typename Archive>
  void Fields(Archive& archive) {
    archive(policy, each, by_node, own, behind);
  }
};

struct Box {
  using Fixed = void;
  std::uint16_t a = 0;
  std::string b;
  template <typename Archive>
  void Fields(Archive& archive) {
    archive(a, b);
  }
};
struct Boxes {
  std::vector<Box> boxes;
  template <typename Archive>
  void Fields(Archive& archive) {
    archive(boxes);
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

TEST(Wire, AStructInsideAMessageMayGrowWhereverItStands) {
  const OldPolicy old{.store = "/nfs", .keep = 5};
  const auto newer = DecodeWire<Start<NewPolicy>>(EncodeWire(Start<OldPolicy>{
      .policy = old, .each = {old, old}, .by_node = {{7, old}}, .own = old, .behind = 9}));
  ASSERT_TRUE(newer.ok());
  ASSERT_EQ(newer->each.size(), 2U);
  for (const NewPolicy* policy :
       {&newer->policy, &newer->each[0], &newer->each[1], &newer->by_node.at(7), &*newer->own}) {
    EXPECT_EQ(policy->store, "/nfs");
    EXPECT_EQ(policy->keep, 5U);
    EXPECT_EQ(policy->rules, "default") << "an older sender has none";
  }
  EXPECT_EQ(newer->behind, 9U);

  const NewPolicy grown{.store = "/nfs", .keep = 5, .rules = "best=2", .metadata = {"a=b"}};
  const auto older =
      DecodeWire<Start<OldPolicy>>(EncodeWire(Start<NewPolicy>{.policy = grown,
                                                               .each = {grown, grown},
                                                               .by_node = {{7, grown}},
                                                               .own = grown,
                                                               .behind = 9}));
  ASSERT_TRUE(older.ok());
  ASSERT_EQ(older->each.size(), 2U);
  for (const OldPolicy* policy :
       {&older->policy, &older->each[0], &older->each[1], &older->by_node.at(7), &*older->own}) {
    EXPECT_EQ(policy->store, "/nfs");
    EXPECT_EQ(policy->keep, 5U);
  }
  EXPECT_EQ(older->behind, 9U);
}

TEST(Wire, AStructThatIsCutInsideAMessageIsRefused) {
  const std::string bytes = EncodeWire(Start<OldPolicy>{.policy = {.store = "/nfs"}});
  EXPECT_FALSE(DecodeWire<Start<OldPolicy>>(bytes.substr(0, 7)).ok());
  std::string longer = bytes;
  longer[0] = '\x7f';  // The length of the first struct.
  EXPECT_FALSE(DecodeWire<Start<OldPolicy>>(longer).ok());
}

TEST(Wire, AFixedStructHasNoLengthAndIsWhole) {
  const std::string bytes = EncodeWire(Boxes{.boxes = {{1, "x"}}});
  EXPECT_EQ(bytes, std::string("\1\0\0\0\1\0\1\0\0\0x", 11));
  EXPECT_FALSE(DecodeWire<Boxes>(bytes.substr(0, 6)).ok()) << "a member is missing";
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
