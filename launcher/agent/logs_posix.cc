#include "launcher/agent/logs_posix.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <set>

#include "runtime/base/file_posix.h"
#include "runtime/base/paths.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

// "12.err" in the folder of attempt `attempt`.
std::optional<LogName> ParseName(AttemptNumber attempt, const std::string& name) {
  const std::vector<std::string> words = Split(name, '.');
  if (words.size() != 2 || (words[1] != "out" && words[1] != "err")) return std::nullopt;
  const auto rank = ParseUnsigned(words[0]);
  if (!rank || *rank > UINT32_MAX) return std::nullopt;
  return LogName{.attempt = attempt,
                 .rank = static_cast<std::uint32_t>(*rank),
                 .is_stderr = words[1] == "err"};
}

class LogFiles final : public LogSource {
 public:
  LogFiles(std::string job_logs, LogWish wish)
      : job_logs_(std::move(job_logs)), wish_(std::move(wish)) {}

  // In turn, so that no file holds up the others; all of a file that is far behind is one turn per
  // piece.
  std::optional<LogBytes> Next(std::size_t most) override {
    for (std::size_t tried = 0; tried <= files_.size(); ++tried) {
      if (at_ >= files_.size()) {
        Look();
        at_ = 0;
      }
      if (files_.empty()) return std::nullopt;
      auto bytes = Read(files_[at_++], most);
      if (bytes) return bytes;
    }
    return std::nullopt;
  }

 private:
  struct File {
    LogName name;
    std::uint64_t offset = 0;
    UniqueFd fd;
  };

  // Finds files that came since the last look.
  void Look() {
    std::error_code ignored;
    for (const auto& folder : std::filesystem::directory_iterator(job_logs_, ignored)) {
      const auto attempt = ParseUnsigned(folder.path().filename().string());
      if (!attempt || *attempt < wish_.first_attempt || *attempt > wish_.last_attempt) continue;
      for (const auto& file : std::filesystem::directory_iterator(folder.path(), ignored)) {
        const auto name =
            ParseName(static_cast<AttemptNumber>(*attempt), file.path().filename().string());
        if (!name || !Wants(wish_, *name) || known_.contains(*name)) continue;
        Add(*name, file.path().lexically_relative(job_logs_).string());
      }
    }
  }

  // What lies there is the user's, and we may be root: no link leads us elsewhere.
  void Add(const LogName& name, const std::string& path) {
    const UniqueFd folder(open(job_logs_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    open_how how{};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    UniqueFd fd(
        static_cast<int>(syscall(SYS_openat2, folder.get(), path.c_str(), &how, sizeof how)));
    if (!fd.valid()) return;  // It is tried again at the next look.
    std::uint64_t offset = 0;
    for (const LogFrom& from : wish_.from) {
      if (from.file == name) offset = from.offset;
    }
    known_.insert(name);
    files_.push_back({.name = name, .offset = offset, .fd = std::move(fd)});
  }

  std::optional<LogBytes> Read(File& file, std::size_t most) {
    buffer_.resize(most);
    ssize_t n = 0;
    do {
      n = pread(file.fd.get(), buffer_.data(), most, static_cast<off_t>(file.offset));
    } while (n < 0 && errno == EINTR);
    if (n <= 0) return std::nullopt;
    LogBytes bytes{.file = file.name,
                   .offset = file.offset,
                   .data = buffer_.substr(0, static_cast<std::size_t>(n))};
    file.offset += static_cast<std::uint64_t>(n);
    return bytes;
  }

  const std::string job_logs_;
  const LogWish wish_;
  std::vector<File> files_;
  std::set<LogName> known_;
  std::size_t at_ = 0;  // Whose turn it is.
  std::string buffer_;
};

}  // namespace

std::unique_ptr<LogSource> OpenLogFiles(const std::string& job_logs, LogWish wish) {
  return std::make_unique<LogFiles>(job_logs, std::move(wish));
}

}  // namespace muster
