// Who is let in, and as whom (D10).
#include "tests/integration/grpc/cluster_fixture.h"

namespace muster::testing {
namespace {

class Trust : public ClusterTest {
 protected:
  void SetUp() override {
    ClusterTest::SetUp();
    StartCoordinator();
    ASSERT_TRUE(ClientOf(kAlice)->Info().ok());  // It is up.
  }

  Status Ask(Credentials credentials) {
    return ClientWith(std::move(credentials), std::chrono::milliseconds(0))->Info().status();
  }
};

TEST_F(Trust, ACertificateOfAnotherAuthorityIsRefused) {
  const Authority other = *MakeAuthority("test", now_);
  Credentials foreign = *Issue(other, UserIdentity(kAlice, true), now_);
  EXPECT_EQ(Ask(foreign).code(), Code::kUnavailable);
  foreign.ca = authority_.certificate;  // It knows us; we do not know it.
  EXPECT_EQ(Ask(foreign).code(), Code::kUnavailable);
}

TEST_F(Trust, ACoordinatorOfAnotherAuthorityIsNotSpokenTo) {
  Credentials credentials = CredentialsOf(UserIdentity(kAlice, false));
  credentials.ca = MakeAuthority("test", now_)->certificate;
  EXPECT_EQ(Ask(credentials).code(), Code::kUnavailable);
}

TEST_F(Trust, WithoutACertificateNothingIsAnswered) {
  Credentials credentials{.ca = authority_.certificate};
  EXPECT_EQ(Ask(credentials).code(), Code::kUnavailable);
}

TEST_F(Trust, AnExpiredCertificateIsRefused) {
  const Validity past{.from = now_.from - std::chrono::hours(48), .time = std::chrono::hours(24)};
  EXPECT_EQ(Ask(CredentialsOf(UserIdentity(kAlice, true), past)).code(), Code::kUnavailable);
  EXPECT_TRUE(Ask(CredentialsOf(UserIdentity(kAlice, false))).ok());
}

TEST_F(Trust, ANodeIsNoUserAndAUserIsNoNode) {
  EXPECT_EQ(Ask(CredentialsOf(NodeIdentity("n0"))).code(), Code::kDenied);
  FakeAgent agent(paths_, "n0", 1, CredentialsOf(UserIdentity(kAlice, true)));
  EXPECT_TRUE(agent.Await([](FakeAgent& a) { return !a.closed.empty(); }));
  EXPECT_NE(agent.closed[0].message().find("is no node"), std::string::npos)
      << agent.closed[0].message();
  EXPECT_TRUE(ClientOf(kAlice)->Nodes()->empty());
}

TEST_F(Trust, AnAgentSpeaksForItsOwnNodeOnly) {
  FakeAgent liar(paths_, "n1", 1, CredentialsOf(NodeIdentity("n0")));
  EXPECT_TRUE(liar.Await([](FakeAgent& a) { return !a.closed.empty(); }));
  EXPECT_NE(liar.closed[0].message().find("may not speak for node 'n1'"), std::string::npos)
      << liar.closed[0].message();
  EXPECT_TRUE(ClientOf(kAlice)->Nodes()->empty());
}

TEST_F(Trust, AUserSubmitsAsItselfOnly) {
  const auto alice = ClientOf(kAlice);
  EXPECT_EQ(alice->Submit(RequestOf(kBob, "k")).status().code(), Code::kDenied);
  EXPECT_EQ(alice->Submit(RequestOf(kRoot, "k")).status().code(), Code::kDenied);
  Owner grown = kAlice;
  grown.groups = {0};
  EXPECT_EQ(alice->Submit(RequestOf(grown, "k")).status().code(), Code::kDenied);
  EXPECT_TRUE(alice->Submit(RequestOf(kAlice, "k")).ok());
  const auto root = ClientOf(kRoot, true);
  EXPECT_TRUE(root->Submit(RequestOf(kBob, "k")).ok());
  EXPECT_EQ(root->Submit(RequestOf(kRoot, "k2")).status().code(), Code::kDenied);
}

TEST_F(Trust, JobsOfRootNeedLeave) {
  EXPECT_EQ(StopCoordinator(SIGTERM), 0);
  StartCoordinator({"allow_root=1"});
  EXPECT_TRUE(ClientOf(kRoot, true)->Submit(RequestOf(kRoot, "k")).ok());
}

TEST_F(Trust, AJobIsItsOwnersAndTheOperators) {
  const auto alice = ClientOf(kAlice);
  const auto bob = ClientOf(kBob);
  const auto root = ClientOf(kRoot, true);
  const auto job = alice->Submit(RequestOf(kAlice, "k"));
  ASSERT_TRUE(job.ok());
  EXPECT_TRUE(bob->Get(*job).ok());  // Everyone may look.
  EXPECT_EQ(bob->Cancel(*job).code(), Code::kDenied);
  EXPECT_EQ(bob->Signal(*job, 10).code(), Code::kDenied);
  EXPECT_EQ(bob->Logs({.job = *job}, {}, {})->Wait().code(), Code::kDenied);
  EXPECT_EQ(bob->Attach(*job, {}, {})->Wait().code(), Code::kDenied);
  EXPECT_EQ(bob->Drain("n0", "x", false).code(), Code::kDenied);
  EXPECT_TRUE(root->Cancel(*job).ok());
}

TEST_F(Trust, TwoUsersMayChooseTheSameKey) {
  const auto of_alice = ClientOf(kAlice)->Submit(RequestOf(kAlice, "same"));
  const auto of_bob = ClientOf(kBob)->Submit(RequestOf(kBob, "same"));
  ASSERT_TRUE(of_alice.ok() && of_bob.ok());
  EXPECT_NE(*of_alice, *of_bob);
}

TEST_F(Trust, ANodeThatTheClusterFileDoesNotNameIsRefused) {
  EXPECT_EQ(StopCoordinator(SIGTERM), 0);
  StartCoordinator({"node=n0"});
  FakeAgent stranger(paths_, "n1", 1);
  EXPECT_TRUE(stranger.Await([](FakeAgent& a) {
    return !a.closed.empty() &&
           a.closed.back().message().find("names no node 'n1'") != std::string::npos;
  }));
  const auto nodes = ClientOf(kAlice)->Nodes();
  ASSERT_EQ(nodes->size(), 1U);  // Known before it registers.
  EXPECT_TRUE((*nodes)[0].lost);
}

TEST_F(Trust, WhatASubmissionLacksIsNamed) {
  const auto alice = ClientOf(kAlice);
  JobRequest request = RequestOf(kAlice, "");
  EXPECT_NE(alice->Submit(request).status().message().find("submit_key"), std::string::npos);
  request = RequestOf(kAlice, "k");
  request.program.argv.clear();
  EXPECT_NE(alice->Submit(request).status().message().find("program"), std::string::npos);
  request = RequestOf(kAlice, "k", 0);
  EXPECT_NE(alice->Submit(request).status().message().find("nodes"), std::string::npos);
}

}  // namespace
}  // namespace muster::testing
