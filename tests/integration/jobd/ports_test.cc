#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <set>

#include "launcher/jobd/ports_posix.h"

namespace muster {
namespace {

std::uint16_t ListenSomewhere(const UniqueFd& fd) {
  sockaddr_in address{.sin_family = AF_INET};
  socklen_t size = sizeof address;
  EXPECT_EQ(bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size), 0);
  EXPECT_EQ(listen(fd.get(), 1), 0);
  EXPECT_EQ(getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size), 0);
  return ntohs(address.sin_port);
}

// Ten ports with `port` among them.
PortRange Around(std::uint16_t port) {
  const auto first = static_cast<std::uint16_t>(port > 65000 ? port - 9 : port);
  return {first, static_cast<std::uint16_t>(first + 9)};
}

TEST(Ports, TwoJobsOnAMachineNeverGetTheSame) {
  std::set<std::uint16_t> ports;
  std::vector<std::vector<PortLease>> jobs;
  for (int job = 0; job < 100; ++job) {
    auto leases = ClaimPorts({}, 2);
    ASSERT_TRUE(leases.ok()) << leases.status().message();
    for (const PortLease& lease : *leases) EXPECT_TRUE(ports.insert(lease.port).second);
    jobs.push_back(*std::move(leases));
  }
}

TEST(Ports, OneThatSomebodyListensAtIsLeftOut) {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const std::uint16_t taken = ListenSomewhere(listener);
  for (int i = 0; i < 20; ++i) {
    const auto leases = ClaimPorts(Around(taken), 2);
    ASSERT_TRUE(leases.ok()) << leases.status().message();
    for (const PortLease& lease : *leases) EXPECT_NE(lease.port, taken);
  }
}

TEST(Ports, AreFreeAgainWithTheirOwnerAndSayWhenThereAreNone) {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const PortRange range = Around(ListenSomewhere(listener));
  auto none = ClaimPorts(range, 10);
  EXPECT_EQ(none.status().code(), Code::kExhausted);
  EXPECT_NE(none.status().message().find("give `muster agent` other --ports"), std::string::npos);
  auto some = ClaimPorts(range, 5);
  ASSERT_TRUE(some.ok()) << some.status().message();
  EXPECT_FALSE(ClaimPorts(range, 5).ok());
  some->clear();
  EXPECT_TRUE(ClaimPorts(range, 5).ok());
}

}  // namespace
}  // namespace muster
