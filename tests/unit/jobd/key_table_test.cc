#include "launcher/jobd/key_table.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

TEST(KeyTable, KeepsTheLastValueOfAKey) {
  KeyTable keys;
  EXPECT_EQ(keys.Find("a"), nullptr);
  EXPECT_TRUE(keys.Set("a", "1"));
  EXPECT_TRUE(keys.Set("a", "2"));
  EXPECT_EQ(*keys.Find("a"), "2");
  keys.Clear();
  EXPECT_EQ(keys.Find("a"), nullptr);
}

TEST(KeyTable, TakesSoManyKeysAndNoMore) {
  KeyTable keys;
  constexpr std::size_t kMost = KeyTable::kBytesMost / (KeyTable::kPerKey + 8);
  const auto name = [](std::size_t i) { return std::to_string(1'000'000 + i); };
  for (std::size_t i = 0; i < kMost; ++i) ASSERT_TRUE(keys.Set(name(i), "x"));
  EXPECT_FALSE(keys.Set(name(kMost), "x"));
  EXPECT_EQ(keys.Find(name(kMost)), nullptr);
  EXPECT_TRUE(keys.Set(name(0), "y"));  // Another value of one that is there.
  EXPECT_TRUE(keys.Set("muster.last_call", "7"));
}

TEST(KeyTable, TakesSoManyBytesAndNoMore) {
  KeyTable keys;
  const std::string value((1 << 20) - KeyTable::kPerKey - 1, 'x');
  for (std::size_t i = 0; i < 64; ++i) {
    ASSERT_TRUE(keys.Set(std::string(1, static_cast<char>('0' + i)), value));
  }
  EXPECT_FALSE(keys.Set("z", ""));
  EXPECT_FALSE(keys.Set("0", value + "x"));
  EXPECT_EQ(*keys.Find("0"), value);
  EXPECT_TRUE(keys.Set("0", ""));  // Which makes room.
  EXPECT_TRUE(keys.Set("z", std::string(1000, 'x')));
  keys.Clear();
  EXPECT_TRUE(keys.Set("0", value + "x"));
}

}  // namespace
}  // namespace muster
