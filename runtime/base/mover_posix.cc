#include "runtime/base/mover_posix.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

namespace muster::mover {
namespace {

constexpr std::size_t kInlineMax = 32768;
constexpr std::uint64_t kBodyMax = std::uint64_t{1} << 30U;

struct Header {
  std::uint16_t version = 1;
  std::uint8_t body_beside = 0;  // The first descriptor is the body.
  std::uint8_t has_payload = 0;
  std::uint32_t length = 0;  // Of the body in the packet.
  std::uint64_t id = 0;
};

Result<UniqueFd> BodyBeside(std::string_view body) {
  UniqueFd fd(memfd_create("muster-frame", MFD_CLOEXEC));
  if (!fd.valid()) return ErrnoStatus("memfd_create", errno);
  RETURN_IF_ERROR(WriteAll(fd.get(), body.data(), body.size()));
  return fd;
}

Result<std::string> ReadBeside(int fd) {
  struct stat info {};
  if (fstat(fd, &info) != 0) return ErrnoStatus("fstat of a frame's body", errno);
  const auto size = static_cast<std::uint64_t>(info.st_size);
  if (!S_ISREG(info.st_mode) || size > kBodyMax) {
    return Status(Code::kInvalid, "mover: a frame's body of " + std::to_string(size) + " bytes");
  }
  std::string body(size, '\0');
  if (lseek(fd, 0, SEEK_SET) != 0) return ErrnoStatus("lseek in a frame's body", errno);
  RETURN_IF_ERROR(ReadAll(fd, body.data(), body.size()));
  return body;
}

struct Packet {
  std::string bytes;
  std::vector<UniqueFd> fds;
};

Result<std::optional<Packet>> ReceivePacket(int socket) {
  Packet packet;
  packet.bytes.resize(sizeof(Header) + kInlineMax);
  iovec part{packet.bytes.data(), packet.bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(4 * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  ssize_t n = 0;
  do {
    n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && errno == ECONNRESET) return std::optional<Packet>();
  if (n < 0) return ErrnoStatus("receiving a frame", errno);
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof fd);
      packet.fds.emplace_back(fd);
    }
  }
  if (n == 0) return std::optional<Packet>();
  packet.bytes.resize(static_cast<std::size_t>(n));
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) {
    return Status(Code::kInvalid, "mover: a frame was cut");
  }
  return std::optional<Packet>(std::move(packet));
}

}  // namespace

Status SendFrame(int socket, std::uint64_t id, std::string_view body, int payload) {
  Header header{.has_payload = payload >= 0, .id = id};
  std::array<int, 2> fds{};
  std::size_t count = 0;
  UniqueFd beside;
  if (body.size() > kInlineMax) {
    auto made = BodyBeside(body);
    if (!made.ok()) return std::move(made).status();
    beside = *std::move(made);
    header.body_beside = 1;
    fds[count++] = beside.get();
    body = {};
  }
  if (payload >= 0) fds[count++] = payload;
  header.length = static_cast<std::uint32_t>(body.size());

  std::array<iovec, 2> parts{iovec{&header, sizeof header},
                             iovec{const_cast<char*>(body.data()), body.size()}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(2 * sizeof(int))> control{};
  msghdr message{};
  message.msg_iov = parts.data();
  message.msg_iovlen = parts.size();
  if (count > 0) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(rights), fds.data(), count * sizeof(int));
  }
  ssize_t n = 0;
  do {
    n = sendmsg(socket, &message, MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  if (n < 0) return ErrnoStatus("sending a frame", errno);
  return {};
}

Result<std::optional<Frame>> ReceiveFrame(int socket) {
  auto received = ReceivePacket(socket);
  if (!received.ok()) return std::move(received).status();
  if (!received->has_value()) return std::optional<Frame>();
  Packet& packet = **received;

  Header header;
  if (packet.bytes.size() < sizeof header)
    return Status(Code::kInvalid, "mover: a frame too short");
  std::memcpy(&header, packet.bytes.data(), sizeof header);
  if (header.version != 1) {
    return Status(
        Code::kUnimplemented,
        "mover: a frame of version " + std::to_string(header.version) + ", this build speaks 1");
  }
  const std::size_t fds_due = (header.body_beside != 0 ? 1U : 0U) + header.has_payload;
  if (packet.bytes.size() != sizeof header + header.length || packet.fds.size() != fds_due) {
    return Status(Code::kInvalid, "mover: a frame whose length or descriptors are wrong");
  }
  Frame frame{.id = header.id, .body = packet.bytes.substr(sizeof header)};
  if (header.has_payload != 0) frame.payload = std::move(packet.fds.back());
  if (header.body_beside != 0) {
    auto body = ReadBeside(packet.fds.front().get());
    if (!body.ok()) return std::move(body).status();
    frame.body = *std::move(body);
  }
  return std::optional<Frame>(std::move(frame));
}

}  // namespace muster::mover
