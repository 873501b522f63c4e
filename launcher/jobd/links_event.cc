#include "launcher/jobd/links_event.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "runtime/base/log.h"

namespace muster {
namespace {

constexpr std::size_t kWaitingMax = 4096;
constexpr int kPacketsAtOnce = 64;  // Then the loop sees to the others.

// False: the socket is full.  An error is the rank's end, which its pidfd tells.
bool SendPacket(int fd, const std::string& bytes, const UniqueFd* descriptor) {
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  msghdr message{.msg_iov = &part, .msg_iovlen = 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (descriptor != nullptr) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    const int number = descriptor->get();
    std::memcpy(CMSG_DATA(header), &number, sizeof number);
  }
  return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
         (errno != EAGAIN && errno != ENOBUFS && errno != EINTR);
}

}  // namespace

Links::Link::~Link() {
  if (readable != nullptr) event_free(readable);
  if (writable != nullptr) event_free(writable);
}

Links::Links(event_base* base, Said said) : base_(base), said_(std::move(said)) {}

Links::~Links() = default;

Result<UniqueFd> Links::Open(std::uint32_t local_rank, const std::string& token) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus("make the link of a rank", errno);
  }
  auto link = std::make_unique<Link>();
  link->fd.Reset(ends[0]);
  link->token = token;
  link->local_rank = local_rank;
  link->owner = this;
  link->readable = event_new(base_, ends[0], EV_READ | EV_PERSIST, OnReadable, link.get());
  link->writable = event_new(base_, ends[0], EV_WRITE, OnWritable, link.get());
  CHECK(link->readable != nullptr && link->writable != nullptr);
  event_add(link->readable, nullptr);
  links_[local_rank] = std::move(link);
  return UniqueFd(ends[1]);
}

void Links::OnReadable(evutil_socket_t, short, void* link) {
  const auto* self = static_cast<Link*>(link);
  self->owner->Read(self->local_rank);
}

void Links::OnWritable(evutil_socket_t, short, void* link) {
  auto* self = static_cast<Link*>(link);
  self->owner->Flush(*self);
}

void Links::Read(std::uint32_t local_rank) {
  char buffer[link::kPacketMax];
  for (int i = 0; i < kPacketsAtOnce; ++i) {
    // What is said may close links.
    const auto found = links_.find(local_rank);
    if (found == links_.end()) return;
    Link& link = *found->second;
    const ssize_t n = recv(link.fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0 || !Hear(link, {buffer, static_cast<std::size_t>(n)})) {
      links_.erase(local_rank);
      return;
    }
  }
}

// False: the link is to be closed.
bool Links::Hear(Link& link, std::string_view packet) {
  const auto message = link::DecodePacket<link::ToJobd>(packet);
  const std::string who = "local_rank=" + std::to_string(link.local_rank);
  if (!message.ok()) {
    Log(LogLevel::kWarning, who + " link closed: " + message.status().message());
    return false;
  }
  if (!message->has_value()) return true;
  const auto* hello = std::get_if<link::Hello>(&**message);
  if (hello != nullptr) {
    link.spoke = hello->token == link.token;
    link.polls = hello->polls;
  }
  if (!link.spoke) {
    Log(LogLevel::kWarning, who + " link closed: no Hello with the token of this rank");
    return false;
  }
  said_(link.local_rank, **message);
  return true;
}

void Links::Send(std::uint32_t local_rank, const link::ToRank& message,
                 const std::shared_ptr<UniqueFd>& descriptor) {
  const auto found = links_.find(local_rank);
  if (found == links_.end()) return;
  Link& link = *found->second;
  link.waiting.push_back({EncodePacket(message, link.seq++), descriptor});
  CHECK(link.waiting.back().bytes.size() <= link::kPacketMax);
  if (link.waiting.size() > kWaitingMax) {
    Log(LogLevel::kWarning, "local_rank=" + std::to_string(local_rank) +
                                " link closed: it reads nothing of what it asked for");
    links_.erase(found);
    return;
  }
  Flush(link);
}

void Links::Flush(Link& link) {
  while (!link.waiting.empty()) {
    const Packet& packet = link.waiting.front();
    if (!SendPacket(link.fd.get(), packet.bytes, packet.descriptor.get())) {
      event_add(link.writable, nullptr);
      return;
    }
    link.waiting.pop_front();
  }
}

bool Links::Polls(std::uint32_t local_rank) const {
  const auto found = links_.find(local_rank);
  return found != links_.end() && found->second->spoke && found->second->polls;
}

void Links::HearLast(std::uint32_t local_rank) {
  constexpr int kSocketful = 16;  // Times kPacketsAtOnce; no socket holds more.
  for (int i = 0; i < kSocketful; ++i) Read(local_rank);
}

void Links::CloseAll() {
  links_.clear();
}

}  // namespace muster
