// The C codec against the C++ one of link.h: every message, both directions, and what is no
// message.
#include "runtime/client/codec.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "runtime/base/link.h"
#include "runtime/client/muster_client.h"

namespace muster::link {
namespace {

// A new message must be judged here: does a client send it, or need it?
static_assert(std::variant_size_v<ToJobd> == 13 && std::variant_size_v<ToRank> == 11);
static_assert(MUSTER_PHASES == kPhaseCount);
static_assert(MUSTER_PACKET_MAX == kPacketMax && MUSTER_HEADER_SIZE == sizeof(Header));

constexpr std::array kPhases = {
    std::pair(MUSTER_PHASE_STARTING, Phase::kStarting),
    std::pair(MUSTER_PHASE_RESTORING, Phase::kRestoring),
    std::pair(MUSTER_PHASE_TRAINING, Phase::kTraining),
    std::pair(MUSTER_PHASE_CHECKPOINT, Phase::kSaving),
    std::pair(MUSTER_PHASE_STOPPING, Phase::kStopping),
    std::pair(MUSTER_PHASE_DATA, Phase::kData),
    std::pair(MUSTER_PHASE_FORWARD, Phase::kForward),
    std::pair(MUSTER_PHASE_BACKWARD, Phase::kBackward),
    std::pair(MUSTER_PHASE_COMM, Phase::kComm),
    std::pair(MUSTER_PHASE_OPTIMIZER, Phase::kOptimizer),
    std::pair(MUSTER_PHASE_EVALUATION, Phase::kEvaluation),
};

class ClientCodec : public ::testing::Test {
 protected:
  // What the C encoder wrote, byte by byte what the C++ one writes.
  void ExpectSame(std::size_t size, const ToJobd& message, std::uint64_t seq) {
    const std::string packet = EncodePacket(message, seq);
    EXPECT_EQ(std::string(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(size)),
              packet);
    EXPECT_TRUE(DecodePacket<ToJobd>(packet).ok());
  }
  static muster_text Text(const std::string& text) { return {text.data(), text.size()}; }
  static std::string String(muster_text text) { return {text.data, text.size}; }
  static bool Decode(const std::string& packet, muster_said* said) {
    return muster_decode(reinterpret_cast<const unsigned char*>(packet.data()), packet.size(),
                         said) != 0;
  }

  std::vector<unsigned char> bytes_ = std::vector<unsigned char>(MUSTER_PACKET_MAX);
};

TEST_F(ClientCodec, WritesHello) {
  const std::string token = "0123456789abcdef";
  for (const bool polls : {false, true}) {
    const muster_hello hello = {
        .pid = -7, .token = Text(token), .local_rank = 300, .polls = polls ? 1 : 0};
    ExpectSame(muster_encode_hello(bytes_.data(), bytes_.size(), 5, &hello),
               Hello{.pid = -7, .token = token, .local_rank = 300, .polls = polls}, 5);
  }
}

TEST_F(ClientCodec, WritesProgressInEveryPhase) {
  for (const auto& [number, phase] : kPhases) {
    EXPECT_EQ(static_cast<int>(number), static_cast<int>(phase));
    const std::string note = "restored step 40";
    const muster_report report = {.step = 1ULL << 60,
                                  .loss = 2.75,
                                  .tokens = 12345678901,
                                  .comm_us = 77,
                                  .phase = number,
                                  .note = Text(note),
                                  .phase_us = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1ULL << 50}};
    ExpectSame(muster_encode_report(bytes_.data(), bytes_.size(), 1ULL << 40, &report),
               Progress{.step = 1ULL << 60,
                        .loss = 2.75,
                        .tokens = 12345678901,
                        .comm_us = 77,
                        .phase = phase,
                        .note = note,
                        .phase_us = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1ULL << 50}},
               1ULL << 40);
  }
}

TEST_F(ClientCodec, WritesKeys) {
  const std::string key = "address", value("a\0b", 3);
  ExpectSame(muster_encode_kv_set(bytes_.data(), bytes_.size(), 2, Text(key), Text(value)),
             KvSet{.key = key, .value = value}, 2);
  ExpectSame(muster_encode_kv_set(bytes_.data(), bytes_.size(), 2, Text(key), Text("")),
             KvSet{.key = key}, 2);
  ExpectSame(muster_encode_kv_get(bytes_.data(), bytes_.size(), 3, Text(key), 60000),
             KvGet{.key = key, .timeout_ms = 60000}, 3);
}

TEST_F(ClientCodec, WritesNothingThatDoesNotFit) {
  const std::string value(1000, 'v');
  const std::size_t size =
      muster_encode_kv_set(bytes_.data(), bytes_.size(), 0, Text("k"), Text(value));
  ASSERT_EQ(size, 16 + 4 + 1 + 4 + 1000U);
  for (std::size_t room = 0; room < size; ++room) {
    std::vector<unsigned char> small(room);
    ASSERT_EQ(muster_encode_kv_set(small.data(), room, 0, Text("k"), Text(value)), 0U) << room;
  }
}

TEST_F(ClientCodec, ReadsWhatConcernsItAndSkipsTheRest) {
  muster_said said;
  ASSERT_TRUE(Decode(EncodePacket(ToRank(Stop{.grace_ms = 30000}), 9), &said));
  EXPECT_EQ(said.type, MUSTER_SAID_STOP);
  EXPECT_EQ(said.grace_ms, 30000U);

  const std::string value(50000, 'x');
  const std::string packet =
      EncodePacket(ToRank(KvValue{.key = "k", .value = value, .found = true}), 9);
  ASSERT_TRUE(Decode(packet, &said));
  EXPECT_EQ(said.type, MUSTER_SAID_KV_VALUE);
  EXPECT_EQ(String(said.key), "k");
  EXPECT_EQ(String(said.value), value);
  EXPECT_EQ(said.found, 1);

  for (const ToRank& other : {ToRank(PeerLost{.rank = 3}), ToRank(Memory{.name = "m", .bytes = 4}),
                              ToRank(Loaded{.found = true, .tensors = {{.name = "w"}}})}) {
    ASSERT_TRUE(Decode(EncodePacket(other, 9), &said)) << other.index();
    EXPECT_EQ(said.type, MUSTER_SAID_OTHER) << other.index();
  }
}

TEST_F(ClientCodec, ReadsThatAKeyWasRefused) {
  muster_said said;
  const std::string packet = EncodePacket(ToRank(KvRefused{.key = "one more"}), 9);
  ASSERT_TRUE(Decode(packet, &said));
  EXPECT_EQ(said.type, MUSTER_SAID_KV_REFUSED);
  EXPECT_EQ(String(said.key), "one more");
}

// As wire.h promises: older senders leave members out at the end, newer ones add some.
TEST_F(ClientCodec, UnderstandsOlderAndNewerSenders) {
  muster_said said;
  std::string packet = EncodePacket(ToRank(Stop{.grace_ms = 7}), 0) + "more";
  packet[4] = 8;
  ASSERT_TRUE(Decode(packet, &said));
  EXPECT_EQ(said.grace_ms, 7U);
  packet.resize(MUSTER_HEADER_SIZE);
  packet[4] = 0;
  ASSERT_TRUE(Decode(packet, &said));
  EXPECT_EQ(said.type, MUSTER_SAID_STOP);
  EXPECT_EQ(said.grace_ms, 0U);
}

// Random damage: both codecs take and refuse the same, and read the same out of it.
TEST_F(ClientCodec, JudgesDamagedPacketsAsTheOtherCodecDoes) {
  const unsigned seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto pick = [&] { return static_cast<std::uint32_t>(random()); };
  int taken = 0, refused = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string packet = i % 2 == 0
                             ? EncodePacket(ToRank(Stop{.grace_ms = pick()}), random())
                             : EncodePacket(ToRank(KvValue{.key = std::string(random() % 9, 'k'),
                                                           .value = std::string(random() % 9, 'v'),
                                                           .found = random() % 2 == 0}),
                                            random());
    for (std::size_t n = random() % 3; n > 0; --n) {
      packet[random() % packet.size()] = static_cast<char>(pick() % 4);
    }
    const std::size_t whole = packet.size();
    if (random() % 3 == 0) packet.resize(random() % (whole + 4));
    if (random() % 2 == 0 && packet.size() >= sizeof(Header)) {
      const auto length = static_cast<std::uint32_t>(packet.size() - sizeof(Header));
      std::memcpy(&packet[4], &length, sizeof length);
    }
    Header header;
    std::memcpy(&header, packet.data(), std::min(packet.size(), sizeof header));
    const bool known = header.type <= MUSTER_SAID_KV_VALUE;
    const auto theirs = DecodePacket<ToRank>(packet);
    muster_said ours{};
    const bool ok = Decode(packet, &ours);
    if (!known) continue;  // The bodies of other messages are not looked into.
    ASSERT_EQ(ok, theirs.ok()) << i;
    ++(ok ? taken : refused);
    if (!ok) continue;
    ASSERT_TRUE(theirs->has_value());
    if (const auto* stop = std::get_if<Stop>(&**theirs)) {
      ASSERT_EQ(ours.type, MUSTER_SAID_STOP);
      ASSERT_EQ(ours.grace_ms, stop->grace_ms);
    } else {
      const auto& value = std::get<KvValue>(**theirs);
      ASSERT_EQ(ours.type, MUSTER_SAID_KV_VALUE);
      ASSERT_EQ(String(ours.key), value.key);
      ASSERT_EQ(String(ours.value), value.value);
      ASSERT_EQ(ours.found != 0, value.found);
    }
  }
  EXPECT_GT(taken, 1000);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace muster::link
