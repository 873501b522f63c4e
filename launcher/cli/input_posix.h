// The caller's stdin, or terminal, as `muster run` gives it to rank 0.
#pragma once

#include <termios.h>

#include <memory>
#include <optional>

#include "launcher/cli/client_grpc.h"
#include "launcher/cli/command_line.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/mutex.h"

namespace muster {

// Settles from what stdin is whether rank 0 gets it, and the terminal's size.  Call before anything
// is opened and any thread starts.  kInvalid: what was asked for cannot be.
Status SettleInput(RunCommand& command);

// Any thread.
class CallerInput final : public InputSource {
 public:
  // `pty`: from Attached() until Restore() or its end, what is typed goes to rank 0 as it is typed,
  // and so does the terminal's size.
  explicit CallerInput(bool pty);
  ~CallerInput() override = default;
  CallerInput(const CallerInput&) = delete;
  CallerInput& operator=(const CallerInput&) = delete;

  void Attached() override;
  std::optional<InputPiece> Next() override;
  void Stop() override;

  // The terminal as it was, for good; false: it is so already.
  bool Restore();

 private:
  const bool pty_;
  const UniqueFd stop_;
  UniqueFd resized_;        // Of SIGWINCH.
  bool tell_size_ = false;  // The stream's thread.
  Mutex mutex_;
  std::optional<termios> before_ GUARDED_BY(mutex_);
  bool restored_ GUARDED_BY(mutex_) = false;
};

// It, on its way to rank 0 of a job.
class GivenInput {
 public:
  // Tells the caller when the way breaks.
  GivenInput(ClusterClient& client, JobId job, bool pty);
  ~GivenInput() { Over(); }
  GivenInput(const GivenInput&) = delete;
  GivenInput& operator=(const GivenInput&) = delete;

  // Nothing is told any more, and the terminal is as it was.
  void Over() { source_.Restore(); }

 private:
  CallerInput source_;
  std::unique_ptr<ClientStream> stream_;
};

}  // namespace muster
