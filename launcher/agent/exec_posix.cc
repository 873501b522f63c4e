#include "launcher/agent/exec_posix.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <vector>

#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr std::size_t kPieceMost = 64 << 10;

ExecSaid Failure(const std::string& why) {
  return {.exit = 126, .failure = why};
}

Result<UniqueFd> Connect(const ExecDoorPlace& door) {
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

Status Ask(int fd, const ExecAsked& asked, const std::array<int, 2>& outputs) {
  std::array<char, 1> byte{};
  iovec part = {.iov_base = byte.data(), .iov_len = byte.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof outputs)> control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control.data();
  message.msg_controllen = control.size();
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof outputs);
  std::memcpy(CMSG_DATA(header), outputs.data(), sizeof outputs);
  if (sendmsg(fd, &message, MSG_NOSIGNAL) != 1) return ErrnoStatus("ask the job daemon", errno);
  const std::string body = EncodeWire(asked);
  const auto size = static_cast<std::uint32_t>(body.size());
  std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
  frame += body;
  for (std::size_t at = 0; at < frame.size();) {
    const ssize_t n = send(fd, frame.data() + at, frame.size() - at, MSG_NOSIGNAL);
    if (n < 0 && errno != EINTR) return ErrnoStatus("ask the job daemon", errno);
    if (n > 0) at += static_cast<std::size_t>(n);
  }
  return {};
}

// One program's two pipes and its daemon's word, until all was read.
class Reading {
 public:
  Reading(UniqueFd daemon, UniqueFd out, UniqueFd err) : daemon_(std::move(daemon)) {
    outputs_[0] = std::move(out);
    outputs_[1] = std::move(err);
  }

  ExecSaid ToTheEnd(int stop, const std::function<bool(bool, std::string_view)>& output) {
    for (;;) {
      // What a child of it keeps open for ever is not waited for once it ended itself.
      const bool over = said_.has_value();
      std::array<pollfd, 4> waits = {{{.fd = over ? -1 : daemon_.get(), .events = POLLIN},
                                      {.fd = stop, .events = POLLIN},
                                      {.fd = outputs_[0].get(), .events = POLLIN},
                                      {.fd = outputs_[1].get(), .events = POLLIN}}};
      const int ready = poll(waits.data(), waits.size(), over ? 0 : -1);
      if (ready < 0 && errno != EINTR) return Failure(std::strerror(errno));
      if (waits[1].revents != 0) return Failure("nobody waits for it any more");
      bool read_some = false;
      for (std::size_t i = 0; i < outputs_.size(); ++i) {
        if (waits[2 + i].revents == 0) continue;
        read_some = true;
        if (!ReadPiece(i, output)) return Failure("nobody reads it any more");
      }
      if (over && !read_some) return *said_;
      if (waits[0].revents != 0 && !HearDaemon()) return Failure("the job ended");
    }
  }

 private:
  bool ReadPiece(std::size_t i, const std::function<bool(bool, std::string_view)>& output) {
    const ssize_t n = read(outputs_[i].get(), piece_.data(), piece_.size());
    if (n < 0) return errno == EINTR || errno == EAGAIN;
    if (n == 0) outputs_[i].Reset();
    return n == 0 || output(i == 1, {piece_.data(), static_cast<std::size_t>(n)});
  }

  // False: it is gone without a word.
  bool HearDaemon() {
    std::array<char, 4096> bytes{};
    const ssize_t n = recv(daemon_.get(), bytes.data(), bytes.size(), 0);
    if (n <= 0) return n < 0 && errno == EINTR;
    heard_.append(bytes.data(), static_cast<std::size_t>(n));
    std::uint32_t size = 0;
    if (heard_.size() < sizeof size) return true;
    std::memcpy(&size, heard_.data(), sizeof size);
    if (heard_.size() - sizeof size < size) return true;
    auto said = DecodeWire<ExecSaid>(std::string_view(heard_).substr(sizeof size, size));
    said_ = said.ok() ? *std::move(said) : Failure(said.status().message());
    return true;
  }

  const UniqueFd daemon_;
  std::array<UniqueFd, 2> outputs_;
  std::vector<char> piece_ = std::vector<char>(kPieceMost);
  std::string heard_;
  std::optional<ExecSaid> said_;
};

}  // namespace

StopFlag::StopFlag() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

void StopFlag::Set() const {
  if (eventfd_write(fd_.get(), 1) != 0) return;  // It is set already.
}

ExecSaid RunBesideRank(const ExecDoorPlace& door, const ExecAsked& asked, int stop,
                       const std::function<bool(bool is_stderr, std::string_view)>& output) {
  Result<UniqueFd> daemon = Connect(door);
  if (!daemon.ok()) return Failure(daemon.status().message());
  std::array<int, 2> out{}, err{};
  if (pipe2(out.data(), O_CLOEXEC) != 0) return Failure(std::strerror(errno));
  UniqueFd out_read(out[0]), out_write(out[1]);
  if (pipe2(err.data(), O_CLOEXEC) != 0) return Failure(std::strerror(errno));
  UniqueFd err_read(err[0]), err_write(err[1]);
  if (Status told = Ask(daemon->get(), asked, {out_write.get(), err_write.get()}); !told.ok()) {
    return Failure(told.message());
  }
  out_write.Reset();
  err_write.Reset();
  return Reading(*std::move(daemon), std::move(out_read), std::move(err_read))
      .ToTheEnd(stop, output);
}

}  // namespace muster
