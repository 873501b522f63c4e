#include "launcher/jobd/ports_posix.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "runtime/base/text.h"
#include "runtime/base/tls_openssl.h"

namespace muster {
namespace {

UniqueFd Own(std::uint16_t port) {
  UniqueFd fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const std::string name = "muster-port-" + std::to_string(port);
  sockaddr_un address{.sun_family = AF_UNIX};
  name.copy(address.sun_path + 1, sizeof address.sun_path - 1);  // A leading 0: abstract.
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
  if (fd.valid() && bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) {
    fd.Reset();
  }
  return fd;
}

// Nobody listens at it on any address, and no connection of its last user lingers.
bool Free(std::uint16_t port) {
  const UniqueFd fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_in address{.sin_family = AF_INET, .sin_port = htons(port)};
  return fd.valid() &&
         bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Result<std::vector<PortLease>> ClaimPorts(const PortRange& range, std::size_t count) {
  const std::uint32_t size = range.last - range.first + 1U;
  std::uint32_t begin = 0;
  std::memcpy(&begin, RandomBytes(sizeof begin).data(), sizeof begin);
  std::vector<PortLease> leases;
  for (std::uint32_t i = 0; i < size && leases.size() < count; ++i) {
    const auto port = static_cast<std::uint16_t>(range.first + (begin % size + i) % size);
    UniqueFd owner = Own(port);
    if (owner.valid() && Free(port)) leases.push_back({port, std::move(owner)});
  }
  if (leases.size() < count) {
    return Status(Code::kExhausted,
                  "of the ports " + ToText(range) + " of this node only " +
                      std::to_string(leases.size()) + " are free, " + std::to_string(count) +
                      " are needed; end what uses them, or give `muster agent` other --ports");
  }
  return leases;
}

}  // namespace muster
