#include "launcher/agent/logs_posix.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>
#include <map>
#include <set>

#include "launcher/agent/log_places_posix.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/paths.h"
#include "runtime/base/progress_points.h"
#include "runtime/base/recorder_file.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::size_t kPiecesPerLook = 64;
constexpr std::size_t kSkipMost = 4 << 20;  // So that the lines in it are counted quickly.

// "12.err" in the folder of attempt `attempt`.
std::optional<LogName> ParseName(AttemptNumber attempt, const std::string& name,
                                 const std::array<const char*, 2>& suffixes) {
  const std::vector<std::string> words = Split(name, '.');
  if (words.size() != 2 || (words[1] != suffixes[0] && words[1] != suffixes[1])) {
    return std::nullopt;
  }
  const auto rank = ParseUnsigned(words[0]);
  if (!rank || *rank > UINT32_MAX) return std::nullopt;
  return LogName{.attempt = attempt,
                 .rank = static_cast<std::uint32_t>(*rank),
                 .is_stderr = words[1] == suffixes[1]};
}

std::optional<LogName> ParseName(const LogSelection& selection, AttemptNumber attempt,
                                 const std::string& name) {
  if (selection.recorder) return ParseName(attempt, name, {kRecorderSuffix, ""});
  if (!selection.progress) return ParseName(attempt, name, {"out", "err"});
  if (name != kProgressFileName) return std::nullopt;
  return LogName{.attempt = attempt};
}

class LogFiles final : public LogSource {
 public:
  LogFiles(std::string job_logs, NodeName node, LogWish wish)
      : job_logs_(std::move(job_logs)), node_(std::move(node)), wish_(std::move(wish)) {}

  // Attempt by attempt: a rank's lines come in order.  Within one in turn, so that no file holds up
  // the others; all of a file that is far behind is one turn per piece.
  std::optional<LogBytes> Next(std::size_t most) override {
    if (pieces_++ % kPiecesPerLook == 0) Look();
    if (auto bytes = Pass(most)) return bytes;
    Look();
    return Pass(most);
  }

 private:
  struct File {
    LogName name;
    std::uint64_t offset = 0;
    std::uint64_t skip_to = 0;  // Ahead of `offset`: what is between is left out.
    UniqueFd fd;
    std::unique_ptr<LogTimeline> times;
  };

  std::optional<LogBytes> Pass(std::size_t most) {
    for (auto of = files_.lower_bound(attempt_); of != files_.end(); ++of) {
      std::vector<File>& files = of->second;
      for (std::size_t tried = 0; tried < files.size(); ++tried) {
        auto bytes = Read(files[turn_++ % files.size()], most);
        attempt_ = of->first;
        if (bytes) return bytes;
      }
    }
    return std::nullopt;
  }

  // Finds files that came since the last look.
  void Look() {
    std::error_code ignored;
    for (const auto& folder : std::filesystem::directory_iterator(job_logs_, ignored)) {
      const auto attempt = ParseUnsigned(folder.path().filename().string());
      if (!attempt || *attempt < wish_.first_attempt || *attempt > wish_.last_attempt) continue;
      for (const auto& file : std::filesystem::directory_iterator(folder.path(), ignored)) {
        const auto name = ParseName(wish_.selection, static_cast<AttemptNumber>(*attempt),
                                    file.path().filename().string());
        if (!name || !Wants(wish_, *name) || known_.contains(*name)) continue;
        OfAnother(*name) ? void(known_.insert(*name)) : Add(*name);
      }
    }
  }

  // What lies there is the user's, and we may be root: no link leads us elsewhere.
  UniqueFd Open(const std::string& path) const {
    const UniqueFd folder(open(job_logs_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    open_how how{};
    how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS;
    return UniqueFd(
        static_cast<int>(syscall(SYS_openat2, folder.get(), path.c_str(), &how, sizeof how)));
  }

  // The nodes of an embedded cluster have one folder.
  bool OfAnother(const LogName& name) const {
    std::error_code ignored;
    bool of_another = false;
    const std::string all = LogTimesFolder(job_logs_, name.attempt);
    for (const auto& folder : std::filesystem::directory_iterator(all, ignored)) {
      const NodeName node = folder.path().filename().string();
      const std::string times =
          LogTimesFile(job_logs_, name.attempt, node, name.rank, name.is_stderr);
      if (!std::filesystem::exists(times, ignored)) continue;
      if (node == node_) return false;
      of_another = true;
    }
    return of_another;
  }

  void Add(const LogName& name) {
    // Relative to the folder of the job.
    File file{.name = name};
    if (wish_.selection.recorder) {
      file.fd = Open(RecorderFile(".", name.attempt, name.rank));
      file.times = std::make_unique<LogTimeline>(UniqueFd());
    } else if (wish_.selection.progress) {
      file.fd = Open("./" + std::to_string(name.attempt) + "/" + kProgressFileName);
      file.times = std::make_unique<LogTimeline>(UniqueFd());
    } else {
      file.fd = Open(LogFile(".", name.attempt, name.rank, name.is_stderr));
      file.times = std::make_unique<LogTimeline>(
          Open(LogTimesFile(".", name.attempt, node_, name.rank, name.is_stderr)));
    }
    if (!file.fd.valid()) return;  // It is tried again at the next look.
    file.offset = Begin(file);
    known_.insert(name);
    files_[name.attempt].push_back(std::move(file));
  }

  std::uint64_t Begin(const File& file) const {
    for (const LogFrom& from : wish_.from) {
      if (from.file == file.name) return from.offset;
    }
    const LogSelection& selection = wish_.selection;
    std::uint64_t begin = 0;
    if (selection.since_us != 0) {
      const std::uint64_t since = file.times->FirstSince(selection.since_us);
      begin = LineFrom(file.fd.get(), std::min(since, SizeOf(file.fd.get())));
    }
    if (selection.tail_lines == 0) return begin;
    return std::max(begin, LastLinesBegin(file.fd.get(), selection.tail_lines));
  }

  std::optional<LogBytes> Read(File& file, std::size_t most) {
    MaybeSkip(file);
    if (file.skip_to > file.offset) most = std::min(kSkipMost, file.skip_to - file.offset);
    buffer_.resize(most);
    const std::string_view bytes = ReadAt(file.fd.get(), file.offset, buffer_);
    if (bytes.empty()) return std::nullopt;
    LogBytes piece{.file = file.name, .offset = file.offset};
    file.offset += bytes.size();
    if (file.skip_to >= file.offset) {
      piece.skip = true;
      piece.offset = file.offset;
      piece.skipped_lines =
          static_cast<std::uint64_t>(std::count(bytes.begin(), bytes.end(), '\n'));
      return piece;
    }
    piece.times = file.times->Between(piece.offset, file.offset);
    piece.data = bytes;
    return piece;
  }

  // A reader that is too slow for the file goes on near its end.
  void MaybeSkip(File& file) const {
    const std::uint64_t behind = wish_.selection.behind_bytes;
    if (behind == 0 || file.skip_to > file.offset) return;
    const std::uint64_t end = SizeOf(file.fd.get());
    if (end <= file.offset || end - file.offset <= behind) return;
    file.skip_to = LineFrom(file.fd.get(), end - behind / 4);
  }

  const std::string job_logs_;
  const NodeName node_;
  const LogWish wish_;
  std::map<AttemptNumber, std::vector<File>> files_;
  std::set<LogName> known_;
  AttemptNumber attempt_ = 0;  // Those before were given whole: they have ended.
  std::size_t turn_ = 0, pieces_ = 0;
  std::string buffer_;
};

}  // namespace

std::unique_ptr<LogSource> OpenLogFiles(const std::string& job_logs, const NodeName& node,
                                        LogWish wish) {
  return std::make_unique<LogFiles>(job_logs, node, std::move(wish));
}

}  // namespace muster
