// The C library as a program uses it; the test is the job daemon.  One process has one link, so all
// tests share it, and the last one is told to stop.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <thread>

#include "runtime/base/env_posix.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/link.h"
#include "runtime/client/channel_posix.h"
#include "runtime/client/muster_client.h"

namespace muster {
namespace {

class Client : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    std::array<int, 2> ends{};
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends.data()) == 0);
    jobd = ends[0];
    theirs = ends[1];
    SetEnv("MUSTER_RANK", "0");
    SetEnv("MUSTER_WORLD_SIZE", "2");
    SetEnv("MUSTER_LOCAL_RANK", "0");
    SetEnv("MUSTER_LOCAL_WORLD_SIZE", "2");
    SetEnv("MUSTER_LINK_FD", std::to_string(theirs));
    SetEnv("MUSTER_LINK_TOKEN", "secret");
  }

  static std::optional<link::ToJobd> Heard() {
    std::string bytes(link::kPacketMax, '\0');
    const ssize_t n = recv(jobd, bytes.data(), bytes.size(), MSG_DONTWAIT);
    if (n <= 0) return std::nullopt;
    auto message = link::DecodePacket<link::ToJobd>({bytes.data(), static_cast<std::size_t>(n)});
    CHECK(message.ok());
    return *std::move(message);
  }
  // Waits for it, within half a minute.
  template <typename T>
  static T Await() {
    timeval patience{.tv_sec = 30, .tv_usec = 0};
    CHECK(setsockopt(jobd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) == 0);
    for (;;) {
      std::string bytes(link::kPacketMax, '\0');
      const ssize_t n = recv(jobd, bytes.data(), bytes.size(), 0);
      CHECK(n > 0);
      auto message = link::DecodePacket<link::ToJobd>({bytes.data(), static_cast<std::size_t>(n)});
      CHECK(message.ok() && message->has_value());
      if (auto* wanted = std::get_if<T>(&**message)) return std::move(*wanted);
    }
  }
  static void Say(const link::ToRank& message) {
    const std::string packet = link::EncodePacket(message, 0);
    CHECK(send(jobd, packet.data(), packet.size(), 0) > 0);
  }
  static void Drain() {
    while (Heard()) {
    }
  }

  static inline int jobd = -1, theirs = -1;
};

TEST_F(Client, SaysHelloOnceAndClosesOnExec) {
  EXPECT_EQ(muster_rank(), 0);
  EXPECT_EQ(muster_world_size(), 2);
  EXPECT_EQ(muster_linked(), 1);
  const auto hello = Heard();
  ASSERT_TRUE(hello.has_value());
  EXPECT_EQ(std::get<link::Hello>(*hello).token, "secret");
  EXPECT_EQ(std::get<link::Hello>(*hello).pid, getpid());
  EXPECT_FALSE(std::get<link::Hello>(*hello).polls);
  EXPECT_FALSE(Heard().has_value());
  EXPECT_EQ(fcntl(theirs, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST_F(Client, ReportsStepsPhasesAndNotes) {
  EXPECT_EQ(muster_progress(7, 2.5, 700), MUSTER_OK);
  const auto report = Await<link::Progress>();
  EXPECT_EQ(report.step, 7U);
  EXPECT_EQ(report.loss, 2.5);
  EXPECT_EQ(report.tokens, 700U);
  EXPECT_EQ(report.phase, link::Phase::kTraining);
  EXPECT_EQ(muster_enter_phase(MUSTER_PHASE_BACKWARD), MUSTER_OK);
  EXPECT_EQ(Await<link::Progress>().phase, link::Phase::kBackward);
  EXPECT_EQ(muster_enter_phase(11), MUSTER_INVALID);
  EXPECT_EQ(muster_enter_phase(-1), MUSTER_INVALID);
  std::string text;
  while (text.size() < 2000) text += "\u00e4";
  EXPECT_EQ(muster_note(("x" + text).c_str()), MUSTER_OK);
  EXPECT_EQ(Await<link::Progress>().note, "x" + text.substr(0, 998));  // Between two letters.
}

TEST_F(Client, AJobDaemonThatDoesNotReadCostsNothingAndHearsTheNewestLater) {
  for (std::uint64_t step = 1; step <= 100000; ++step) {
    ASSERT_EQ(muster_progress(step, 1.0, 0), MUSTER_OK);
  }
  Drain();
  EXPECT_EQ(muster_flush(), MUSTER_OK);
  EXPECT_EQ(Await<link::Progress>().step, 100000U);
}

TEST_F(Client, WhatASocketThatIsFullDoesNotTakeGoesWithALaterCall) {
  const std::string text(1000, 'x');
  int notes = 0;
  while (muster_note(text.c_str()) == MUSTER_OK) ++notes;
  EXPECT_GT(notes, 10);
  // Long enough that the reports would be due.
  for (const auto until = muster_now_us() + 20000; muster_now_us() < until;) {
    ASSERT_EQ(muster_progress(4242, 1.0, 0), MUSTER_OK);
  }
  Drain();
  EXPECT_EQ(muster_flush(), MUSTER_OK);
  EXPECT_EQ(Await<link::Progress>().step, 4242U);
}

TEST_F(Client, SetsAndGetsKeys) {
  EXPECT_EQ(muster_kv_set("k", "v\0w", 3), MUSTER_OK);
  const auto set = Await<link::KvSet>();
  EXPECT_EQ(set.key, "k");
  EXPECT_EQ(set.value, std::string("v\0w", 3));
  Say(link::KvValue{.key = "k", .value = "value", .found = true});
  std::array<char, 8> buffer{};
  std::size_t length = buffer.size();
  EXPECT_EQ(muster_kv_get("k", buffer.data(), &length, 1000), MUSTER_OK);
  EXPECT_EQ(std::string(buffer.data(), length), "value");
  EXPECT_EQ(Await<link::KvGet>().key, "k");
  Say(link::KvValue{.key = "k", .value = "longer than 8", .found = true});
  length = buffer.size();
  EXPECT_EQ(muster_kv_get("k", buffer.data(), &length, 1000), MUSTER_TOO_SMALL);
  EXPECT_EQ(length, 13U);
  Drain();
}

TEST_F(Client, RefusesKeysThatAreNone) {
  const std::string large(MUSTER_KV_MAX, 'x');
  std::size_t length = 0;
  EXPECT_EQ(muster_kv_set("", "v", 1), MUSTER_INVALID);
  EXPECT_EQ(muster_kv_set(nullptr, "v", 1), MUSTER_INVALID);
  EXPECT_EQ(muster_kv_set("k", nullptr, 1), MUSTER_INVALID);
  EXPECT_EQ(muster_kv_set("muster.last_call", "1", 1), MUSTER_INVALID);
  EXPECT_EQ(muster_kv_set("k", large.data(), large.size()), MUSTER_INVALID);
  EXPECT_EQ(muster_kv_set("k", large.data(), SIZE_MAX), MUSTER_INVALID);
  EXPECT_EQ(muster_kv_get("k", nullptr, nullptr, 0), MUSTER_INVALID);
  EXPECT_EQ(muster_kv_get("", nullptr, &length, 0), MUSTER_INVALID);
  EXPECT_FALSE(Heard().has_value());
  EXPECT_EQ(muster_kv_set("k", large.data(), large.size() - 1), MUSTER_OK);
  EXPECT_EQ(Await<link::KvSet>().value.size(), large.size() - 1);
}

// A question that was given up is answered late; that is not the answer to the next one.
TEST_F(Client, ALateNoIsNotTakenForAnAnswer) {
  Say(link::KvValue{.key = "k"});
  Say(link::KvValue{.key = "other", .value = "x", .found = true});
  Say(link::KvValue{.key = "k", .value = "yes", .found = true});
  std::array<char, 8> buffer{};
  std::size_t length = buffer.size();
  EXPECT_EQ(muster_kv_get("k", buffer.data(), &length, 30000), MUSTER_OK);
  EXPECT_EQ(std::string(buffer.data(), length), "yes");
  Drain();
}

TEST_F(Client, GetsAreAnsweredInTimeAndReportsPassMeanwhile) {
  std::thread getter([] {
    std::array<char, 8> buffer{};
    std::size_t length = buffer.size();
    EXPECT_EQ(muster_kv_get("never", buffer.data(), &length, 300), MUSTER_TIMEOUT);
  });
  const auto asked = Await<link::KvGet>();
  EXPECT_EQ(asked.key, "never");
  EXPECT_LE(asked.timeout_ms, 300U);
  EXPECT_EQ(muster_progress(1, 1.0, 0), MUSTER_OK);
  EXPECT_EQ(Await<link::Progress>().step, 1U);  // While the other thread waits.
  EXPECT_EQ(muster_should_stop(), 0);
  EXPECT_TRUE(Await<link::Hello>().polls);  // Said at the first such call.
  // A no before its time would be another question's.
  for (const auto until = muster_now_us() + 1000ULL * asked.timeout_ms; muster_now_us() < until;) {
  }
  Say(link::KvValue{.key = "never"});
  getter.join();
  Drain();
}

TEST_F(Client, AForkedChildIsSilent) {
  const pid_t child = fork();
  if (child == 0) {
    std::size_t length = 0;
    const bool silent = muster_progress(99, 1.0, 0) == MUSTER_FORKED && muster_linked() == 0 &&
                        muster_enter_phase(MUSTER_PHASE_DATA) == MUSTER_FORKED &&
                        muster_kv_set("k", "v", 1) == MUSTER_FORKED &&
                        muster_kv_get("k", nullptr, &length, 0) == MUSTER_FORKED &&
                        muster_should_stop() == 0 && muster_grace_left_ms() == -1 &&
                        muster_flush() == MUSTER_FORKED && muster_rank() == 0;
    _exit(silent ? 0 : 1);
  }
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
  EXPECT_FALSE(Heard().has_value());
}

TEST_F(Client, AgreesOnTheLastCall) {
  EXPECT_EQ(muster_should_stop(), 0);
  EXPECT_EQ(muster_grace_left_ms(), -1);
  Say(link::Stop{.grace_ms = 1'000'000});
  const auto set = [] {
    for (;;) {
      if (muster_should_stop() != 0) return std::optional<link::KvSet>();
      if (auto heard = Heard()) {
        if (auto* key = std::get_if<link::KvSet>(&*heard)) return std::optional(*key);
      }
    }
  }();
  ASSERT_TRUE(set.has_value());
  EXPECT_EQ(set->key, "muster.last_call");
  EXPECT_GT(muster_grace_left_ms(), 900'000);
  int calls = 0;
  while (muster_should_stop() == 0) ++calls;
  EXPECT_GT(std::stoull(set->value), 1U);
  EXPECT_NE(muster_should_stop(), 0);  // And so it stays.
}

TEST_F(Client, AfterTheJobDaemonIsGoneNothingIsToldAndNothingWaits) {
  close(jobd);
  std::size_t length = 0;
  EXPECT_EQ(muster_kv_get("k", nullptr, &length, 60000), MUSTER_LOST);
  EXPECT_EQ(muster_progress(1, 1.0, 0), MUSTER_LOST);
  EXPECT_EQ(muster_linked(), 0);
}

}  // namespace
}  // namespace muster
