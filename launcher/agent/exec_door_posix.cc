#include "launcher/agent/exec_door_posix.h"

#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/base/descriptors_posix.h"
#include "runtime/base/wire.h"

namespace muster {

StopFlag::StopFlag() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void StopFlag::Set() const {
  if (eventfd_write(fd_.get(), 1) != 0) return;  // It is set already.
}

Result<UniqueFd> KnockAt(const ExecDoorPlace& door) {
  sockaddr_un address{.sun_family = AF_UNIX};
  if (door.socket.size() >= sizeof address.sun_path) return Status(Code::kInvalid, "too long");
  std::memcpy(address.sun_path, door.socket.data(), door.socket.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.valid() ||
      connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return ErrnoStatus("reach the job daemon", errno);
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != door.uid) {
    return Status(Code::kDenied, "somebody else is in the job daemon's place");
  }
  return fd;
}

Status AskAt(int daemon, const ExecAsked& asked, const std::vector<int>& outputs) {
  RETURN_IF_ERROR(SendDescriptors(daemon, std::string_view("\0", 1), outputs));
  const std::string body = EncodeWire(asked);
  const auto size = static_cast<std::uint32_t>(body.size());
  std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
  frame += body;
  for (std::size_t at = 0; at < frame.size();) {
    const ssize_t n = send(daemon, frame.data() + at, frame.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) return ErrnoStatus("ask the job daemon", errno);
    if (n > 0) at += static_cast<std::size_t>(n);
  }
  return {};
}

}  // namespace muster
