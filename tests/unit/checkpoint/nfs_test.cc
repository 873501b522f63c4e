// What nfs:// needs and no server: its URLs, and the account of what a server may have forgotten.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <string>

#include "runtime/checkpoint/nfs_url.h"
#include "runtime/checkpoint/uncommitted.h"

namespace muster::checkpoint {
namespace {

TEST(NfsUrl, EveryPartOfItIsRead) {
  const auto url = ParseNfsUrl("nfs://filer:3049/export/a/?nconnect=8&mountport=635&timeout=30");
  ASSERT_TRUE(url.ok()) << url.status().message();
  EXPECT_EQ(*url, (NfsUrl{.host = "filer",
                          .port = 3049,
                          .path = "/export/a",
                          .mountport = 635,
                          .nconnect = 8,
                          .timeout = std::chrono::seconds(30)}));
  EXPECT_EQ(ShortText(*url), "nfs://filer:3049/export/a");
  const auto v6 = ParseNfsUrl("nfs://[fd00::1]:2050/e");
  ASSERT_TRUE(v6.ok()) << v6.status().message();
  EXPECT_EQ(v6->host, "fd00::1");
  EXPECT_EQ(v6->port, 2050);
  EXPECT_EQ(ShortText(*v6), "nfs://[fd00::1]:2050/e");
  EXPECT_EQ(*ParseNfsUrl("nfs://10.0.0.1/e"), (NfsUrl{.host = "10.0.0.1", .path = "/e"}));
  EXPECT_NE(MountLine(*v6, "/mnt/x").find("port=2050 [fd00::1]:/e /mnt/x"), std::string::npos);
}

TEST(NfsUrl, AMistakeSaysWhatWasFoundAndWhatIsAllowed) {
  const std::map<std::string, std::string> wrong = {
      {"/mnt/a", "does not begin with nfs://"},
      {"nfs:///export", "names no host"},
      {"nfs://host", "names no export"},
      {"nfs://host/", "names no export"},
      {"nfs://host:0/e", "the port '0' is not 1 to 65535"},
      {"nfs://host:/e", "the port '' is not"},
      {"nfs://host:70000/e", "the port '70000' is not"},
      {"nfs://[fd00::1/e", "has no ']'"},
      {"nfs://[fd00::1]x/e", "'x' stands behind the address"},
      {"nfs://fd00::1/e", "several ':'"},
      {"nfs://user@host/e", "a user is not given"},
      {"nfs://host/a//b", "an empty part"},
      {"nfs://host/a/../b", "'..'"},
      {"nfs://host/a%20b", "'%' is not decoded"},
      {"nfs://host/e?nconect=4", "unknown option 'nconect', did you mean nconnect?"},
      {"nfs://host/e?nconnect=17", "nconnect=17 is not 1 to 16"},
      {"nfs://host/e?timeout=0", "timeout=0 is not 1 to 3600 seconds"},
      {"nfs://host/e?mountport", "mountport= is not 1 to 65535"},
      {"nfs://host/e?", "unknown option ''"},
  };
  for (const auto& [url, words] : wrong) {
    const auto parsed = ParseNfsUrl(url);
    ASSERT_FALSE(parsed.ok()) << url;
    EXPECT_EQ(parsed.status().code(), Code::kInvalid);
    EXPECT_NE(parsed.status().message().find(words), std::string::npos)
        << parsed.status().message();
    EXPECT_NE(parsed.status().message().find("nfs://HOST[:PORT]/EXPORT"), std::string::npos);
  }
}

constexpr WriteVerifier kFirst = {'1'};
constexpr WriteVerifier kSecond = {'2'};

std::vector<std::byte> Bytes(std::size_t n) {
  return std::vector<std::byte>(n, std::byte{7});
}

Uncommitted Small() {
  return Uncommitted({.piece = 10, .kept = 100, .commit_every = 40});
}

TEST(Uncommitted, APieceIsForgottenOnlyByACommitOfTheSameVerifier) {
  Uncommitted kept = Small();
  EXPECT_EQ(kept.Add(0, Bytes(25)), 10U);
  const auto* piece = kept.NextToSend();
  ASSERT_NE(piece, nullptr);
  EXPECT_EQ(kept.NextToSend(), nullptr);
  kept.Written(piece->id, 10, false, kFirst);
  EXPECT_FALSE(kept.CommitDue(/*closing=*/false));
  ASSERT_TRUE(kept.CommitDue(/*closing=*/true));
  kept.CommitSent();
  EXPECT_FALSE(kept.CommitDue(true));
  kept.Committed(kSecond);
  EXPECT_FALSE(kept.empty());
  EXPECT_EQ(kept.resent(), 10U);
  EXPECT_EQ(kept.futile_commits(), 1);
  piece = kept.NextToSend();
  ASSERT_NE(piece, nullptr);
  kept.Written(piece->id, 10, false, kSecond);
  kept.CommitSent();
  kept.Committed(kSecond);
  EXPECT_TRUE(kept.empty());
  EXPECT_EQ(kept.futile_commits(), 0);
}

TEST(Uncommitted, ACommitCoversOnlyWhatWasAnsweredBeforeItLeft) {
  Uncommitted kept = Small();
  kept.Add(0, Bytes(10));
  kept.Add(10, Bytes(10));
  const auto first = kept.NextToSend()->id;
  const auto second = kept.NextToSend()->id;
  kept.Written(first, 10, false, kFirst);
  kept.CommitSent();
  kept.Written(second, 10, false, kFirst);
  kept.Committed(kFirst);
  EXPECT_EQ(kept.first_offset(), 10U);
  EXPECT_TRUE(kept.CommitDue(true));
  kept.CommitSent();
  kept.CommitLost();
  EXPECT_TRUE(kept.CommitDue(true));
  kept.CommitSent();
  kept.Committed(kFirst);
  EXPECT_TRUE(kept.empty());
}

TEST(Uncommitted, WhatWasTakenInPartOrLostIsSentAgain) {
  Uncommitted kept = Small();
  kept.Add(100, Bytes(10));
  kept.Written(kept.NextToSend()->id, 4, true, kFirst);
  const auto* rest = kept.NextToSend();
  ASSERT_NE(rest, nullptr);
  EXPECT_EQ(rest->offset, 104U);
  EXPECT_EQ(rest->bytes.size(), 6U);
  kept.Lost(rest->id);
  rest = kept.NextToSend();
  ASSERT_NE(rest, nullptr);
  kept.Written(rest->id, 6, true, kFirst);
  EXPECT_TRUE(kept.empty());
}

TEST(Uncommitted, WhatIsKeptIsBounded) {
  Uncommitted kept = Small();
  std::uint64_t at = 0;
  while (const std::size_t n = kept.Add(at, Bytes(30))) at += n;
  EXPECT_EQ(at, 100U);
  for (int i = 0; i < 4; ++i) kept.Written(kept.NextToSend()->id, 10, false, kFirst);
  EXPECT_TRUE(kept.CommitDue(false)) << "40 bytes wait for one";
  kept.CommitSent();
  EXPECT_EQ(kept.Add(at, Bytes(30)), 0U);
  kept.Committed(kFirst);
  EXPECT_EQ(kept.Add(at, Bytes(30)), 10U);
}

// A server that forgets at random, and loses answers; what it has made durable is what counts.
TEST(Uncommitted, WhateverAServerForgetsEndsUpDurable) {
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const auto chance = [&](unsigned percent) { return random() % 100 < percent; };
    Uncommitted kept = Small();
    constexpr std::size_t kSize = 500;
    std::string durable(kSize, '-'), memory(kSize, '-');
    WriteVerifier life = kFirst;
    std::uint64_t added = 0;
    bool committing = false;
    for (int turn = 0; turn < 20'000 && (added < kSize || !kept.empty()); ++turn) {
      if (added < kSize) added += kept.Add(added, Bytes(std::min<std::size_t>(kSize - added, 17)));
      if (chance(3)) {
        memory = durable;
        life[1] = static_cast<char>(life[1] + 1);
      }
      if (const auto* piece = kept.NextToSend(); piece != nullptr) {
        const bool reached = chance(90);
        const std::size_t n = 1 + random() % piece->bytes.size();
        if (reached)
          std::fill_n(memory.begin() + static_cast<std::ptrdiff_t>(piece->offset), n, 'x');
        const bool stable = reached && chance(5);
        if (stable) durable = memory;
        if (reached && chance(90)) {
          kept.Written(piece->id, n, stable, life);
        } else {
          kept.Lost(piece->id);
        }
      }
      if (committing && chance(50)) {
        committing = false;
        const bool reached = chance(90);
        if (reached) durable = memory;
        if (reached && chance(90)) {
          kept.Committed(life);
        } else {
          kept.CommitLost();
        }
      }
      if (!committing && kept.CommitDue(added == kSize)) {
        kept.CommitSent();
        committing = true;
      }
    }
    EXPECT_TRUE(kept.empty());
    EXPECT_EQ(durable, std::string(kSize, 'x'));
  }
}

}  // namespace
}  // namespace muster::checkpoint
