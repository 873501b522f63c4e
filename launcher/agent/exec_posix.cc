#include "launcher/agent/exec_posix.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
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

ExecSaid RunBesideRank(const ExecDoorPlace& door, const ExecAsked& asked, int stop,
                       const std::function<bool(bool is_stderr, std::string_view)>& output) {
  Result<UniqueFd> daemon = KnockAt(door);
  if (!daemon.ok()) return Failure(daemon.status().message());
  std::array<int, 2> out{}, err{};
  if (pipe2(out.data(), O_CLOEXEC) != 0) return Failure(std::strerror(errno));
  UniqueFd out_read(out[0]), out_write(out[1]);
  if (pipe2(err.data(), O_CLOEXEC) != 0) return Failure(std::strerror(errno));
  UniqueFd err_read(err[0]), err_write(err[1]);
  if (Status told = AskAt(daemon->get(), asked, {out_write.get(), err_write.get()}); !told.ok()) {
    return Failure(told.message());
  }
  out_write.Reset();
  err_write.Reset();
  return Reading(*std::move(daemon), std::move(out_read), std::move(err_read))
      .ToTheEnd(stop, output);
}

}  // namespace muster
