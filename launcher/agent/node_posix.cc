#include "launcher/agent/node_posix.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "runtime/base/file_posix.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

struct Candidate {
  int order = 0;
  std::string text;
};

std::optional<Candidate> CandidateOf(const sockaddr* address) {
  std::array<char, INET6_ADDRSTRLEN> text{};
  if (address->sa_family == AF_INET) {
    const in_addr v4 = reinterpret_cast<const sockaddr_in*>(address)->sin_addr;
    inet_ntop(AF_INET, &v4, text.data(), text.size());
    const bool link_local = (ntohl(v4.s_addr) >> 16) == 0xa9fe;
    return Candidate{link_local ? 2 : 0, text.data()};
  }
  if (address->sa_family == AF_INET6) {
    const in6_addr& v6 = reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr;
    if (IN6_IS_ADDR_LINKLOCAL(&v6)) return std::nullopt;  // Of no use without its interface.
    inet_ntop(AF_INET6, &v6, text.data(), text.size());
    return Candidate{1, text.data()};
  }
  return std::nullopt;
}

}  // namespace

Result<std::string> BootId() {
  auto id = ReadFile("/proc/sys/kernel/random/boot_id");
  if (!id.ok()) return std::move(id).status();
  while (id->ends_with('\n')) id->pop_back();
  return id;
}

std::vector<std::string> NodeAddresses(bool loopback) {
  if (loopback) return {"127.0.0.1"};
  std::vector<Candidate> candidates;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return {};
  for (const ifaddrs* entry = all; entry != nullptr; entry = entry->ifa_next) {
    const bool usable = (entry->ifa_flags & IFF_UP) != 0 && (entry->ifa_flags & IFF_LOOPBACK) == 0;
    if (!usable || entry->ifa_addr == nullptr) continue;
    if (const auto candidate = CandidateOf(entry->ifa_addr)) candidates.push_back(*candidate);
  }
  freeifaddrs(all);
  std::stable_sort(candidates.begin(), candidates.end(),
                   [](const Candidate& a, const Candidate& b) { return a.order < b.order; });
  std::vector<std::string> addresses;
  for (const Candidate& candidate : candidates) addresses.push_back(candidate.text);
  return addresses;
}

std::uint32_t CpuCount() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) return 1;
  return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
}

std::uint32_t GpuCount() {
  std::error_code ignored;
  std::filesystem::directory_iterator gpus("/proc/driver/nvidia/gpus", ignored);
  return static_cast<std::uint32_t>(std::distance(begin(gpus), end(gpus)));
}

std::optional<std::uint64_t> StartOf(std::int64_t pid) {
  const auto stat = ReadFile("/proc/" + std::to_string(pid) + "/stat");
  if (!stat.ok()) return std::nullopt;
  const std::size_t end = stat->rfind(") ");  // The name before may hold anything.
  if (end == std::string::npos) return std::nullopt;
  const auto fields = Split(std::string_view(*stat).substr(end + 2), ' ');
  if (fields.size() < 20 || fields[0] == "Z" || fields[0] == "X") return std::nullopt;
  return ParseUnsigned(fields[19]);
}

std::vector<Carrier> JobCarriers(const std::string& cookie_prefix) {
  const std::string name = "MUSTER_JOB_COOKIE=", entry = name + cookie_prefix;
  std::vector<Carrier> found;
  DIR* dir = opendir("/proc");
  if (dir == nullptr) return found;
  while (const dirent* process = readdir(dir)) {
    const auto pid = ParseSigned(process->d_name);
    if (!pid) continue;
    const auto environment = ReadFile(std::string("/proc/") + process->d_name + "/environ");
    if (!environment.ok()) continue;
    for (const std::string& variable : Split(*environment, '\0')) {
      if (variable.rfind(entry, 0) == 0) found.push_back({*pid, variable.substr(name.size())});
    }
  }
  closedir(dir);
  return found;
}

}  // namespace muster
