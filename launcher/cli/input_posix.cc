#include "launcher/cli/input_posix.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "launcher/cli/terminal_posix.h"

namespace muster {
namespace {

constexpr std::size_t kPieceMost = 64 << 10;

InputPiece SizeOfTerminal() {
  winsize size{};
  if (ioctl(STDIN_FILENO, TIOCGWINSZ, &size) != 0) return {};
  return {.data = {}, .rows = size.ws_row, .columns = size.ws_col};
}

sigset_t Only(int number) {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, number);
  return set;
}

Status CheckForeground(const char* option) {
  if (!IsTerminal(STDIN_FILENO) || tcgetpgrp(STDIN_FILENO) == getpgrp()) return {};
  return Status(Code::kInvalid, std::string(option) +
                                    " reads from the terminal, but this run is in its background; "
                                    "start it without &, or leave that out");
}

// One that is in the background of its terminal is not to be stopped for it.
void SetTerminal(const termios& modes) {
  const sigset_t output = Only(SIGTTOU);
  sigset_t before;
  pthread_sigmask(SIG_BLOCK, &output, &before);
  tcsetattr(STDIN_FILENO, TCSANOW, &modes);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

// Keys as they are typed; output is made as before, since other ranks' lines come in between.
termios Raw(termios modes) {
  modes.c_iflag &= ~static_cast<tcflag_t>(BRKINT | ICRNL | IGNCR | INLCR | ISTRIP | IXON | IXOFF);
  modes.c_lflag &= ~static_cast<tcflag_t>(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
  modes.c_cc[VMIN] = 1;
  modes.c_cc[VTIME] = 0;
  return modes;
}

Status SettleTerminal(RunCommand& command) {
  for (const int fd : {STDIN_FILENO, STDOUT_FILENO}) {
    if (IsTerminal(fd)) continue;
    return Status(Code::kInvalid, std::string("--pty gives rank 0 your terminal, but ") +
                                      (fd == STDIN_FILENO ? "stdin" : "stdout") +
                                      " is none; run it from a terminal, or leave --pty out");
  }
  RETURN_IF_ERROR(CheckForeground("--pty"));
  const sigset_t resized = Only(SIGWINCH);  // For CallerInput: all threads inherit that.
  pthread_sigmask(SIG_BLOCK, &resized, nullptr);
  const InputPiece size = SizeOfTerminal();
  command.job.launch.rows = size.rows;
  command.job.launch.columns = size.columns;
  return {};
}

}  // namespace

Status SettleInput(RunCommand& command) {
  if (command.job.launch.pty) return SettleTerminal(command);
  struct stat info {};
  const bool open = fstat(STDIN_FILENO, &info) == 0;
  bool& given = command.job.launch.stdin_rank0;
  if (command.input == RunInput::kRank0) {
    given = true;
    if (!open) return Status(Code::kInvalid, "--stdin 0: stdin is closed");
    return CheckForeground("--stdin 0");
  }
  const bool holds_data =
      open && (S_ISFIFO(info.st_mode) || S_ISREG(info.st_mode) || S_ISSOCK(info.st_mode));
  given = command.input == RunInput::kAuto && !command.detach && holds_data;
  return {};
}

CallerInput::CallerInput(bool pty) : pty_(pty), stop_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (!pty) return;
  const sigset_t resized = Only(SIGWINCH);
  resized_.Reset(signalfd(-1, &resized, SFD_CLOEXEC | SFD_NONBLOCK));
}

void CallerInput::Attached() {
  if (!pty_) return;
  tell_size_ = true;  // It may be another since the job was submitted.
  const MutexLock lock(mutex_);
  termios modes{};
  if (restored_ || tcgetattr(STDIN_FILENO, &modes) != 0) return;
  before_ = modes;
  SetTerminal(Raw(modes));
}

bool CallerInput::Restore() {
  const MutexLock lock(mutex_);
  if (before_) SetTerminal(*before_);
  before_.reset();
  return !std::exchange(restored_, true);
}

std::optional<InputPiece> CallerInput::Next() {
  if (std::exchange(tell_size_, false)) return SizeOfTerminal();
  InputPiece piece;
  for (;;) {
    std::array<pollfd, 3> waits = {{{.fd = STDIN_FILENO, .events = POLLIN, .revents = 0},
                                    {.fd = stop_.get(), .events = POLLIN, .revents = 0},
                                    {.fd = resized_.get(), .events = POLLIN, .revents = 0}}};
    if (poll(waits.data(), waits.size(), -1) < 0) continue;  // EINTR.
    if (waits[1].revents != 0) return std::nullopt;
    signalfd_siginfo resized{};
    if (waits[2].revents != 0 && read(resized_.get(), &resized, sizeof resized) > 0) {
      return SizeOfTerminal();
    }
    if (waits[0].revents == 0) continue;
    piece.data.resize(kPieceMost);
    const ssize_t n = read(STDIN_FILENO, piece.data.data(), piece.data.size());
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0 && errno != EIO)  // As a terminal that is closed says it.
      Complain("muster: " + ErrnoStatus("reading stdin", errno).message() + "\n");
    if (n <= 0) return std::nullopt;
    piece.data.resize(static_cast<std::size_t>(n));
    return piece;
  }
}

void CallerInput::Stop() {
  if (eventfd_write(stop_.get(), 1) != 0) return;  // It is set already.
}

GivenInput::GivenInput(ClusterClient& client, JobId job, bool pty)
    : source_(pty), stream_(client.GiveInput(job, source_, [this](const Status& how) {
        if (!source_.Restore() || how.ok()) return;
        Complain("muster: rank 0 gets no more input: " + how.message() + "\n");
      })) {}

}  // namespace muster
