#include "runtime/base/descriptors_posix.h"

#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "runtime/base/check.h"

namespace muster {
namespace {

constexpr std::size_t kMost = 2;
using Control = std::array<char, CMSG_SPACE(kMost * sizeof(int))>;

}  // namespace

Status SendDescriptors(int socket, std::string_view bytes, const std::vector<int>& descriptors) {
  CHECK(descriptors.size() <= kMost);
  iovec part = {.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  const std::size_t size = descriptors.size() * sizeof(int);
  if (size > 0) {
    message.msg_control = control.data();
    message.msg_controllen = CMSG_SPACE(size);
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(header), descriptors.data(), size);
  }
  const ssize_t n = sendmsg(socket, &message, MSG_NOSIGNAL);
  if (n == static_cast<ssize_t>(bytes.size())) return {};
  return ErrnoStatus("send over a unix socket", n < 0 ? errno : EMSGSIZE);
}

Result<ReceivedBytes> ReceiveDescriptors(int socket, std::size_t most) {
  ReceivedBytes received;
  received.bytes.resize(most);
  iovec part = {.iov_base = received.bytes.data(), .iov_len = most};
  alignas(cmsghdr) Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  const ssize_t n = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  if (n < 0) return ErrnoStatus("receive over a unix socket", errno);
  received.bytes.resize(static_cast<std::size_t>(n));
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) {
    return received;
  }
  std::array<int, kMost> fds{};
  const std::size_t size = header->cmsg_len - CMSG_LEN(0);
  CHECK(size <= sizeof fds);
  std::memcpy(fds.data(), CMSG_DATA(header), size);
  for (std::size_t i = 0; i < size / sizeof(int); ++i) received.descriptors.emplace_back(fds[i]);
  return received;
}

}  // namespace muster
