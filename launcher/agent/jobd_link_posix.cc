#include "launcher/agent/jobd_link_posix.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr std::uint32_t kLargestFrame = 64 << 20;

}  // namespace

Result<JobdLink> JobdLink::Connect(const std::string& socket_path, std::uint32_t uid) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) {
    return Status(Code::kInvalid, "too long for a socket: " + socket_path);
  }
  std::memcpy(address.sun_path, socket_path.data(), socket_path.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.valid()) return ErrnoStatus("socket", errno);
  if (connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return Status(Code::kUnavailable, "connect " + socket_path + ": " + std::strerror(errno));
  }
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || peer.uid != uid) {
    return Status(Code::kDenied, socket_path + " belongs to another user's process");
  }
  return JobdLink(std::move(fd));
}

void JobdLink::Queue(const Order& order) {
  const std::string body = EncodeVariant(order);
  const auto size = static_cast<std::uint32_t>(body.size());
  out_.append(reinterpret_cast<const char*>(&size), sizeof size);
  out_ += body;
}

Status JobdLink::Flush() {
  while (!out_.empty()) {
    const ssize_t n = send(fd_.get(), out_.data(), out_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return {};
    if (n < 0) return ErrnoStatus("write to the job daemon", errno);
    out_.erase(0, static_cast<std::size_t>(n));
  }
  return {};
}

Status JobdLink::Read(const std::function<void(const Report&)>& on_report) {
  std::array<char, 65536> buffer{};
  const ssize_t n = recv(fd_.get(), buffer.data(), buffer.size(), 0);
  if (n < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK)) return {};
  if (n < 0) return ErrnoStatus("read from the job daemon", errno);
  if (n == 0) return Status(Code::kUnavailable, "the job daemon closed its socket");
  in_.append(buffer.data(), static_cast<std::size_t>(n));
  for (;;) {
    std::uint32_t size = 0;
    if (in_.size() < sizeof size) return {};
    std::memcpy(&size, in_.data(), sizeof size);
    if (size > kLargestFrame) return Status(Code::kInvalid, "a frame that is too large");
    if (in_.size() - sizeof size < size) return {};
    const auto report = DecodeVariant<Report>(std::string_view(in_).substr(sizeof size, size));
    if (!report.ok()) return report.status();
    in_.erase(0, sizeof size + size);
    if (*report) on_report(**report);
  }
}

}  // namespace muster
