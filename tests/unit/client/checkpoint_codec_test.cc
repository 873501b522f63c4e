// The C codec of saves and loads against the C++ one of link.h.
#include "runtime/client/checkpoint_codec.h"

#include <gtest/gtest.h>

#include "runtime/base/link.h"
#include "runtime/client/saves.h"

namespace muster::link {
namespace {

constexpr std::uint64_t kGlobal[] = {8, 3};
constexpr std::uint64_t kOffset[] = {4, 0};
constexpr std::uint64_t kShape[] = {2, 3};

StagedTensor Tensor(const std::string& name) {
  return {.name = name, .dtype = "F32", .global_shape = {8, 3}, .offset = {4, 0}, .shape = {2, 3}};
}

class CheckpointCodec : public ::testing::Test {
 protected:
  static muster_said Said(const ToRank& message) {
    const std::string& packet = said_packet = EncodePacket(message, 3);
    muster_said said;
    EXPECT_TRUE(
        muster_decode(reinterpret_cast<const unsigned char*>(packet.data()), packet.size(), &said));
    return said;
  }
  template <typename T>
  T Decoded(std::size_t size) const {
    const auto message = DecodePacket<ToJobd>({reinterpret_cast<const char*>(bytes_.data()), size});
    EXPECT_TRUE(message.ok() && message->has_value());
    return std::get<T>(**message);
  }
  static std::string String(muster_text text) { return {text.data, text.size}; }

  std::vector<unsigned char> bytes_ = std::vector<unsigned char>(MUSTER_PACKET_MAX);
  static inline std::string said_packet;
};

TEST_F(CheckpointCodec, CutsALongSaveIntoPackets) {
  std::vector<std::string> names;
  for (int i = 0; i < 3000; ++i) names.push_back("layer." + std::to_string(i) + ".weight");
  std::vector<muster_box> boxes;
  for (const std::string& name : names) {
    boxes.push_back({name.c_str(), "F32", 2, kGlobal, kOffset, kShape});
  }
  const std::string metadata(150000, 'm');
  muster_rest rest = {boxes.data(), boxes.size(), {metadata.data(), metadata.size()}};
  SaveBegin whole;
  int packets = 0;
  do {
    const std::size_t size =
        muster_encode_save_begin(bytes_.data(), bytes_.size(), 7, 42, 1234, 5678, 91011, &rest);
    ASSERT_GT(size, 0U);
    const auto part = Decoded<SaveBegin>(size);
    EXPECT_EQ(part.step, 42U);
    EXPECT_EQ(part.bytes, 1234U);
    EXPECT_EQ(part.timeout_ms, 5678U);
    whole.tensors.insert(whole.tensors.end(), part.tensors.begin(), part.tensors.end());
    whole.host_state += part.host_state;
    whole.more = part.more;
    ++packets;
  } while (rest.count > 0 || rest.text.size > 0);
  EXPECT_FALSE(whole.more);
  EXPECT_GT(packets, 5);
  EXPECT_LT(packets, 15);
  ASSERT_EQ(whole.tensors.size(), names.size());
  for (std::size_t i = 0; i < names.size(); ++i) EXPECT_EQ(whole.tensors[i], Tensor(names[i]));
  EXPECT_EQ(whole.host_state, metadata);
}

TEST_F(CheckpointCodec, RefusesANameThatNoPacketHolds) {
  const std::string name(70000, 'n');
  const muster_box box = {name.c_str(), "F32", 2, kGlobal, kOffset, kShape};
  muster_rest rest = {&box, 1, {"", 0}};
  EXPECT_EQ(muster_encode_save_begin(bytes_.data(), bytes_.size(), 0, 1, 2, 3, 4, &rest), 0U);
  EXPECT_EQ(muster_encode_load(bytes_.data(), bytes_.size(), 0, 1, 3, &rest), 0U);
}

TEST_F(CheckpointCodec, WritesTheOthers) {
  const auto copied =
      Decoded<SaveCopied>(muster_encode_save_copied(bytes_.data(), bytes_.size(), 0, 9, {"no", 2}));
  EXPECT_EQ(copied.step, 9U);
  EXPECT_EQ(copied.error, "no");
  const muster_box box = {"w", "F32", 2, kGlobal, kOffset, kShape};
  muster_rest rest = {&box, 1, {"", 0}};
  auto load = Decoded<LoadParts>(muster_encode_load(bytes_.data(), bytes_.size(), 0, 4, 8, &rest));
  EXPECT_EQ(load.number, 4U);
  EXPECT_EQ(load.timeout_ms, 8U);
  EXPECT_TRUE(load.patterns.empty());
  EXPECT_EQ(load.tensors, std::vector{Tensor("w")});
  rest = {nullptr, 0, {"a*", 2}};
  load = Decoded<LoadParts>(muster_encode_load(bytes_.data(), bytes_.size(), 0, 4, 8, &rest));
  EXPECT_EQ(load.patterns, std::vector<std::string>{"a*"});
  EXPECT_TRUE(load.tensors.empty());
  rest = {.text = {"a*", 2}, .any = 1};
  load = Decoded<LoadParts>(muster_encode_load(bytes_.data(), bytes_.size(), 0, 4, 8, &rest));
  EXPECT_EQ(load.patterns, (std::vector<std::string>{"a*", ""}));
}

TEST_F(CheckpointCodec, ReadsWhatIsAnswered) {
  muster_said said = Said(Saved{.step = 3, .error = "why", .optional = true, .local = true});
  muster_saved saved;
  ASSERT_EQ(said.type, MUSTER_SAID_SAVED);
  ASSERT_TRUE(muster_decode_saved(said.body, &saved));
  EXPECT_EQ(saved.step, 3U);
  EXPECT_EQ(String(saved.error), "why");
  EXPECT_TRUE(saved.local);

  said = Said(SaveInto{.step = 4, .begin = 5, .bytes = 6, .error = "full", .busy = true});
  muster_save_into into;
  ASSERT_EQ(said.type, MUSTER_SAID_SAVE_INTO);
  ASSERT_TRUE(muster_decode_save_into(said.body, &into));
  EXPECT_EQ(into.begin, 5U);
  EXPECT_EQ(into.bytes, 6U);
  EXPECT_EQ(String(into.error), "full");
  EXPECT_TRUE(into.busy);

  said = Said(LoadedParts{.number = 8,
                          .bytes = 192,
                          .tensors = {Tensor("a"), Tensor("bb")},
                          .begins = {64, 128},
                          .host_state = "{}",
                          .more = true,
                          .step = 77});
  muster_loaded loaded;
  ASSERT_EQ(said.type, MUSTER_SAID_LOADED);
  ASSERT_TRUE(muster_decode_loaded(said.body, &loaded));
  EXPECT_EQ(loaded.count, 2U);
  EXPECT_EQ(loaded.bytes, 192U);
  EXPECT_TRUE(loaded.more);
  EXPECT_FALSE(loaded.none);
  EXPECT_EQ(loaded.step, 77U);
  EXPECT_EQ(String(loaded.metadata), "{}");
  muster_loaded_tensor tensor;
  muster_next_loaded(&loaded.tensors, &tensor);
  muster_next_loaded(&loaded.tensors, &tensor);
  EXPECT_EQ(String(tensor.name), "bb");
  EXPECT_EQ(String(tensor.dtype), "F32");
  ASSERT_EQ(tensor.ndim, 2U);
  EXPECT_EQ(muster_little_endian(tensor.offset), 4U);
  EXPECT_EQ(muster_little_endian(loaded.begins + 8), 128U);
}

// Whatever is cut off or turned around: never a byte outside of the packet (asan sees it).
TEST_F(CheckpointCodec, ReadsNoFurtherThanThePacket) {
  const muster_said said = Said(LoadedParts{.number = 8,
                                            .tensors = {Tensor("a"), Tensor("bb")},
                                            .begins = {64, 128},
                                            .host_state = "{}"});
  const std::string body = String(said.body);
  int read = 0;
  for (std::size_t size = 0; size < body.size(); ++size) {
    for (const int flip : {0, 0x80, 0xFF}) {
      const std::unique_ptr<char[]> exact(new char[size + 1]);
      std::copy_n(body.data(), size, exact.get());
      if (size > 0) exact[size - 1] = static_cast<char>(exact[size - 1] ^ flip);
      muster_loaded loaded;
      read += muster_decode_loaded({exact.get(), size}, &loaded);
      muster_save_into into;
      muster_decode_save_into({exact.get(), size}, &into);
      muster_saved saved;
      muster_decode_saved({exact.get(), size}, &saved);
    }
  }
  EXPECT_EQ(read, 0);
}

// ---- what becomes of saves ----------------------------------------------------------------------

TEST(ClientSaves, AreUnderWayUntilTheyAreCommittedOrNot) {
  muster_saves saves;
  muster_saves_begin(&saves);
  EXPECT_EQ(saves.committed, -1);
  for (const std::uint64_t step : {1U, 2U, 3U}) muster_saves_staged(&saves, step);
  const auto hear = [&](std::uint64_t step, const std::string& error, bool local = false) {
    const muster_saved saved = {step, {error.data(), error.size()}, local ? 1 : 0};
    muster_saves_heard(&saves, &saved);
  };
  hear(2, "", /*local=*/true);
  EXPECT_EQ(saves.count, 3U);
  hear(2, "");
  hear(1, "");
  EXPECT_EQ(saves.count, 1U);
  EXPECT_EQ(saves.committed, 2);
  EXPECT_FALSE(saves.failed);
  hear(3, "the disk is full");
  EXPECT_EQ(saves.count, 0U);
  EXPECT_TRUE(saves.failed);
  EXPECT_STREQ(saves.why, "step 3 was not saved: the disk is full");
  hear(1, "");
  EXPECT_TRUE(saves.failed);
  muster_saves_staged(&saves, 4);
  hear(4, "");
  EXPECT_FALSE(saves.failed);
  hear(9, "of another life");
  EXPECT_FALSE(saves.failed);
  for (std::uint64_t step = 10; step < 40; ++step) muster_saves_staged(&saves, step);
  EXPECT_EQ(saves.count, static_cast<std::size_t>(MUSTER_SAVES_MAX));
}

}  // namespace
}  // namespace muster::link
