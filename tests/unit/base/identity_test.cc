#include "runtime/base/identity.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

const Owner kAlice{.uid = 1000, .gid = 1000, .groups = {4, 24}, .user = "alice", .home = "/a"};

TEST(IdentityUri, ComesBackAsWritten) {
  for (const Identity& identity :
       {CoordinatorIdentity(), NodeIdentity("n-1.rack_2"), UserIdentity(kAlice, false),
        UserIdentity(kAlice, true), UserIdentity(Owner{.uid = 7, .gid = 8, .user = "b"}, false)}) {
    const auto uri = IdentityUri(identity);
    ASSERT_TRUE(uri.ok()) << uri.status().message();
    const auto back = ParseIdentityUri(*uri);
    ASSERT_TRUE(back.ok()) << *uri;
    EXPECT_EQ(*back, identity) << *uri;
  }
}

TEST(IdentityUri, RefusesNamesThatCouldBeReadAsMore) {
  for (const std::string name : {"", "a/uid/0", "a b", "a,DNS:coordinator.muster", "ä"}) {
    EXPECT_EQ(IdentityUri(NodeIdentity(name)).status().code(), Code::kInvalid) << name;
    EXPECT_EQ(IdentityUri(UserIdentity(Owner{.user = name}, false)).status().code(),
              Code::kInvalid);
  }
  EXPECT_FALSE(IdentityUri(Identity{}).ok());
}

TEST(ParseIdentityUri, DeniesWhatIsNotExactlyOurs) {
  for (const std::string uri :
       {"", "muster:", "http://a", "muster:node/", "muster:node/a/b", "muster:coordinator/x",
        "muster:user/a/uid/1/gid/2", "muster:user/a/uid/1/gid/2/groups",
        "muster:user/a/uid/-1/gid/2/groups/", "muster:user/a/uid/4294967295/gid/2/groups/",
        "muster:user/a/uid/1/gid/2/groups/4..5", "muster:user/a/uid/1/gid/2/groups//root",
        "muster:user/a/uid/1/gid/2/groups//operator/x"}) {
    EXPECT_EQ(ParseIdentityUri(uri).status().code(), Code::kDenied) << uri;
  }
}

TEST(MaySubmitAs, AUserIsBoundToTheIdsOfItsCertificate) {
  const Identity alice = UserIdentity(kAlice, false);
  EXPECT_TRUE(MaySubmitAs(alice, kAlice, false).ok());
  Owner other = kAlice;
  other.uid = 1001;
  EXPECT_EQ(MaySubmitAs(alice, other, false).code(), Code::kDenied);
  other = kAlice;
  other.gid = 0;
  EXPECT_EQ(MaySubmitAs(alice, other, false).code(), Code::kDenied);
  other = kAlice;
  other.gid = 24;
  other.groups = {1000};
  EXPECT_TRUE(MaySubmitAs(alice, other, false).ok());
  other.groups = {27};
  EXPECT_EQ(MaySubmitAs(alice, other, false).code(), Code::kDenied);
}

TEST(MaySubmitAs, AnOperatorMaySpeakForOthersButRootNeedsLeave) {
  const Identity root = UserIdentity(Owner{.user = "root"}, true);
  EXPECT_TRUE(MaySubmitAs(root, kAlice, false).ok());
  EXPECT_EQ(MaySubmitAs(root, Owner{.user = "root"}, false).code(), Code::kDenied);
  EXPECT_TRUE(MaySubmitAs(root, Owner{.user = "root"}, true).ok());
}

TEST(MaySubmitAs, NodesAndStrangersMayNot) {
  EXPECT_EQ(MaySubmitAs(NodeIdentity("n0"), kAlice, true).code(), Code::kDenied);
  EXPECT_EQ(MaySubmitAs(CoordinatorIdentity(), kAlice, true).code(), Code::kDenied);
  EXPECT_EQ(MaySubmitAs(Identity{}, kAlice, true).code(), Code::kDenied);
}

}  // namespace
}  // namespace muster
