#include "launcher/jobd/machine_posix.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>

#include "runtime/base/clock.h"
#include "runtime/base/file_posix.h"

namespace muster {
namespace {

bool Loopback(const std::string& address) {
  return address.rfind("127.", 0) == 0 || address == "::1";
}

std::map<std::string, std::string> AddressesAndInterfaces() {
  std::map<std::string, std::string> found;
  ifaddrs* list = nullptr;
  if (getifaddrs(&list) != 0) return found;
  for (const ifaddrs* item = list; item != nullptr; item = item->ifa_next) {
    if (item->ifa_addr == nullptr) continue;
    char text[INET6_ADDRSTRLEN] = "";
    if (item->ifa_addr->sa_family == AF_INET) {
      inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(item->ifa_addr)->sin_addr, text,
                sizeof text);
    } else if (item->ifa_addr->sa_family == AF_INET6) {
      inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(item->ifa_addr)->sin6_addr, text,
                sizeof text);
    }
    if (text[0] != '\0') found.emplace(text, item->ifa_name);
  }
  freeifaddrs(list);
  return found;
}

}  // namespace

std::uint32_t UsableCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) {
    return static_cast<std::uint32_t>(CPU_COUNT(&set));
  }
  return static_cast<std::uint32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

std::set<std::string> OwnAddresses() {
  std::set<std::string> addresses;
  for (const auto& [address, interface] : AddressesAndInterfaces()) addresses.insert(address);
  return addresses;
}

std::string InterfaceOf(const std::string& address) {
  const auto all = AddressesAndInterfaces();
  const auto found = all.find(address);
  return found == all.end() ? "" : found->second;
}

std::uint32_t RanksOnThisMachine(const StartAttempt& order) {
  const std::set<std::string> own = OwnAddresses();
  std::size_t ranks = 0;
  for (std::size_t i = 0; i < order.hosts.size(); ++i) {
    const Host& host = order.hosts[i];
    const bool here = std::any_of(
        host.addresses.begin(), host.addresses.end(),
        [&](const std::string& address) { return Loopback(address) || own.contains(address); });
    if (here || i == order.host_index) ranks += host.slots.size();
  }
  return static_cast<std::uint32_t>(ranks);
}

std::uint64_t PhysicalMemory() {
  return static_cast<std::uint64_t>(sysconf(_SC_PHYS_PAGES)) *
         static_cast<std::uint64_t>(sysconf(_SC_PAGE_SIZE));
}

std::int64_t MonotonicMicroseconds() {
  return std::chrono::duration_cast<std::chrono::microseconds>(RealClock().Now().time_since_epoch())
      .count();
}

std::int64_t WallMicroseconds() {
  return std::chrono::duration_cast<std::chrono::microseconds>(
             RealClock().Wall().time_since_epoch())
      .count();
}

}  // namespace muster
