#include "launcher/jobd/progress_file_posix.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cmath>
#include <cstring>

#include "runtime/base/log.h"

namespace muster {

void ProgressFile::Begin(const std::string& path) {
  *this = ProgressFile();
  path_ = path;
}

void ProgressFile::Add(const ProgressPoint& point) {
  // Before the first step.
  const bool nothing = point.step == 0 && (std::isinf(point.loss) || point.loss == 0);
  if (path_.empty() || nothing) return;
  newest_ = point;
  if (thinner_.Keeps(point.step)) Append(point);
}

void ProgressFile::End() {
  if (newest_ && thinner_.KeepsLast(newest_->step)) Append(*newest_);
  *this = ProgressFile();
}

void ProgressFile::Append(const ProgressPoint& point) {
  if (!fd_.valid()) {
    fd_.Reset(open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  }
  const std::string line = ProgressLine(point);
  ssize_t n = -1;
  if (fd_.valid()) n = write(fd_.get(), line.data(), line.size());
  if (n == static_cast<ssize_t>(line.size())) return;
  // A piece of a line must not run into the next one; the reader leaves it out.
  if (n > 0) static_cast<void>(ftruncate(fd_.get(), lseek(fd_.get(), 0, SEEK_END) - n));
  Log(LogLevel::kWarning, "the loss curve ends here: " + path_ + ": " +
                              (n < 0 ? std::strerror(errno) : "no space left"));
  path_.clear();
  newest_.reset();
}

}  // namespace muster
