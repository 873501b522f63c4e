#include "launcher/coordinator/port_posix.h"

#include <netdb.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

#include "runtime/base/file_posix.h"

namespace muster {

std::string WhyNoPort(const std::string& listen_host, int port) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  const bool six = listen_host.starts_with('[');
  const std::string host = six ? listen_host.substr(1, listen_host.size() - 2) : listen_host;
  const int error = getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &found);
  if (error != 0) {
    return std::string(gai_strerror(error)) +
           "; `listen` in the cluster file takes an address of this host, or 0.0.0.0 for all";
  }
  const int on = 1;
  const UniqueFd fd(socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const bool free = setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                    bind(fd.get(), found->ai_addr, found->ai_addrlen) == 0 &&
                    listen(fd.get(), 1) == 0;
  const int reason = free ? 0 : errno;
  freeaddrinfo(found);
  const std::string said = std::string(std::strerror(reason)) + "; ";
  switch (reason) {
    case 0:
      return "the port was in use just now; try again";
    case EADDRINUSE:
      return said +
             "stop what listens there (`ss -ltnp` names it), or give another port with "
             "`listen` in the cluster file";
    case EADDRNOTAVAIL:
      return said +
             "`listen` in the cluster file takes an address of this host, or 0.0.0.0 for all";
    case EACCES:
      return said + "ports below 1024 are root's; give another with `listen` in the cluster file";
    default:
      return said + "see `listen` in the cluster file";
  }
}

}  // namespace muster
