#include "runtime/base/link.h"

#include <gtest/gtest.h>

namespace muster::link {
namespace {

TEST(LinkPacket, RoundTrips) {
  const std::string packet = EncodePacket(ToJobd(Progress{.step = 7, .loss = 5.5}), 3);
  const auto decoded = DecodePacket<ToJobd>(packet);
  ASSERT_TRUE(decoded.ok() && decoded->has_value());
  EXPECT_EQ(std::get<Progress>(**decoded).step, 7U);
}

TEST(LinkPacket, SkipsAnUnknownTypeAndRefusesAnUnknownVersion) {
  std::string packet = EncodePacket(ToJobd(Bye{}), 0);
  packet[2] = 99;
  const auto unknown = DecodePacket<ToJobd>(packet);
  ASSERT_TRUE(unknown.ok());
  EXPECT_FALSE(unknown->has_value());
  packet[0] = 2;
  EXPECT_EQ(DecodePacket<ToJobd>(packet).status().code(), Code::kUnimplemented);
}

TEST(LinkPacket, RefusesEveryCut) {
  const std::string packet = EncodePacket(ToRank(KvValue{.key = "k", .value = "v"}), 0);
  for (std::size_t n = 0; n < packet.size(); ++n) {
    EXPECT_FALSE(DecodePacket<ToRank>(std::string_view(packet).substr(0, n)).ok()) << n;
  }
}

}  // namespace
}  // namespace muster::link
