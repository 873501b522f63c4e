// The output of a run's ranks, printed as it comes.
#pragma once

#include <unistd.h>

#include <atomic>
#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "launcher/cli/output_lines.h"
#include "launcher/cli/terminal_posix.h"

namespace muster {

// On the thread of the log stream, but for GoesOn(), and Flush() after the stream.
class Printer {
 public:
  // `format`: asked for once there is something to print.  `json`: all goes to stdout.
  Printer(std::function<OutputFormat()> format, bool json)
      : format_(std::move(format)), json_(json) {}

  // False when nobody reads any more.
  bool Put(const LogPiece& piece) {
    if (!lines_) lines_.emplace(format_());
    const std::string text = lines_->Take(piece);
    writing_ = true;
    const bool to_stdout = json_ || !piece.is_stderr;
    const bool open = WriteOut(to_stdout ? STDOUT_FILENO : STDERR_FILENO, text).ok();
    writing_ = false;
    ++pieces_;
    return open;
  }
  // Whether it has printed since the last call, or waits for whoever reads what it prints.
  bool GoesOn() { return writing_ || std::exchange(seen_, pieces_.load()) != pieces_; }
  void Flush() {
    if (!lines_) return;
    Print(lines_->FlushAll(false));
    json_ ? Print(lines_->FlushAll(true)) : Complain(lines_->FlushAll(true));
  }

 private:
  const std::function<OutputFormat()> format_;
  const bool json_;
  std::optional<OutputLines> lines_;
  std::atomic<bool> writing_ = false;
  std::atomic<std::uint64_t> pieces_ = 0;
  std::uint64_t seen_ = 0;
};

}  // namespace muster
