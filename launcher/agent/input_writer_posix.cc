#include "launcher/agent/input_writer_posix.h"

#include <poll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "runtime/base/descriptors_posix.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

constexpr std::size_t kAnswerMost = 4096;

// Waits for `events` (or an error) of `fd`: what came; 0 when `stop` was first.
short Await(int fd, short events, int stop) {
  for (;;) {
    std::array<pollfd, 2> waits = {
        {{.fd = fd, .events = events, .revents = 0}, {.fd = stop, .events = POLLIN, .revents = 0}}};
    if (poll(waits.data(), waits.size(), -1) < 0 && errno != EINTR) return 0;
    if (waits[1].revents != 0) return 0;
    if (waits[0].revents != 0) return waits[0].revents;
  }
}

}  // namespace

Result<InputWriter> InputWriter::Take(const ExecDoorPlace& door, AttemptNumber attempt, int stop) {
  Result<UniqueFd> daemon = KnockAt(door);
  if (!daemon.ok()) return std::move(daemon).status();
  RETURN_IF_ERROR(AskAt(daemon->get(), {.attempt = attempt, .argv = {}, .input = true}, {}));
  InputWriter input;
  std::string heard;
  for (std::uint32_t size = 0; heard.size() < sizeof size + size;) {
    if (Await(daemon->get(), POLLIN, stop) == 0) return Status(Code::kAborted, "nobody waits");
    Result<ReceivedBytes> came = ReceiveDescriptors(daemon->get(), kAnswerMost);
    if (!came.ok()) return std::move(came).status();
    if (came->bytes.empty()) return Status(Code::kAborted, "the job ended");
    heard += came->bytes;
    if (!came->descriptors.empty()) input.fd_ = std::move(came->descriptors[0]);
    if (heard.size() >= sizeof size) std::memcpy(&size, heard.data(), sizeof size);
  }
  const auto said = DecodeWire<ExecSaid>(std::string_view(heard).substr(sizeof(std::uint32_t)));
  if (!said.ok()) return said.status();
  if (!said->failure.empty()) return Status(Code::kInvalid, said->failure);
  if (!input.fd_.valid()) return Status(Code::kAborted, "rank 0 reads no more");
  input.daemon_ = *std::move(daemon);
  return input;
}

bool InputWriter::Put(std::string_view bytes, int stop) const {
  while (!bytes.empty()) {
    const short ready = Await(fd_.get(), POLLOUT, stop);
    if ((ready & POLLOUT) == 0 || (ready & (POLLERR | POLLHUP)) != 0) return false;
    const ssize_t n = write(fd_.get(), bytes.data(), bytes.size());
    if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
    if (n < 0 && errno != EINTR && errno != EAGAIN) return false;
  }
  return true;
}

void InputWriter::Resize(std::uint32_t rows, std::uint32_t columns) const {
  const winsize size = {.ws_row = static_cast<unsigned short>(rows),
                        .ws_col = static_cast<unsigned short>(columns),
                        .ws_xpixel = 0,
                        .ws_ypixel = 0};
  if (ioctl(fd_.get(), TIOCSWINSZ, &size) != 0) return;  // It is a pipe, or gone.
}

bool InputWriter::AwaitClosed(int stop) const {
  return Await(fd_.get(), 0, stop) != 0;
}

void InputWriter::Close() {
  fd_.Reset();
  daemon_.Reset();
}

}  // namespace muster
