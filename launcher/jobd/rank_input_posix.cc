#include "launcher/jobd/rank_input_posix.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace muster {
namespace {

Result<UniqueFd> Copy(const UniqueFd& fd) {
  UniqueFd copy(fcntl(fd.get(), F_DUPFD_CLOEXEC, 0));
  if (!copy.valid()) return ErrnoStatus("copy a descriptor of rank 0's terminal", errno);
  return copy;
}

}  // namespace

Result<RankInput> RankInput::MakePipe() {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) return ErrnoStatus("make a pipe for rank 0", errno);
  RankInput input;
  input.rank_end_.Reset(ends[0]);
  input.our_end_.Reset(ends[1]);
  // The rank's end stays blocking: programs expect that.
  if (fcntl(ends[1], F_SETFL, O_NONBLOCK) != 0) return ErrnoStatus("set up a pipe", errno);
  return input;
}

Result<RankInput> RankInput::MakeTerminal(std::uint32_t rows, std::uint32_t columns) {
  RankInput input;
  input.terminal_ = true;
  input.our_end_.Reset(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  const int master = input.our_end_.get();
  std::array<char, 64> name{};
  if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0 ||
      ptsname_r(master, name.data(), name.size()) != 0) {
    return ErrnoStatus("make a terminal for rank 0", errno);
  }
  input.rank_end_.Reset(open(name.data(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  termios modes{};
  if (!input.rank_end_.valid() || tcgetattr(master, &modes) != 0) {
    return ErrnoStatus("open rank 0's terminal", errno);
  }
  modes.c_iflag |= IUTF8;  // Else Backspace leaves half a letter.
  const winsize size = {.ws_row = static_cast<unsigned short>(rows),
                        .ws_col = static_cast<unsigned short>(columns),
                        .ws_xpixel = 0,
                        .ws_ypixel = 0};
  if (tcsetattr(master, TCSANOW, &modes) != 0 || ioctl(master, TIOCSWINSZ, &size) != 0) {
    return ErrnoStatus("set up rank 0's terminal", errno);
  }
  return input;
}

Result<UniqueFd> RankInput::Take() {
  if (taken_ || !our_end_.valid()) {
    return Status(Code::kInvalid, "somebody else gave rank 0 its input, and it has ended");
  }
  taken_ = true;
  if (!terminal_) return std::move(our_end_);
  return Copy(our_end_);
}

Result<UniqueFd> RankInput::Output() const {
  return Copy(our_end_);
}

// A terminal has no end, but a key that says so.
void RankInput::End() {
  termios modes{};
  if (terminal_ && tcgetattr(our_end_.get(), &modes) == 0) {
    const cc_t key = modes.c_cc[VEOF];
    if (write(our_end_.get(), &key, 1) < 0) return;  // Whoever reads nothing misses no end.
  }
  if (!terminal_) our_end_.Reset();
}

}  // namespace muster
