#include "launcher/jobd/log_drain_posix.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <list>
#include <map>
#include <vector>

#include "launcher/jobd/log_gap.h"
#include "runtime/base/log_times.h"

namespace muster {
namespace {

constexpr std::size_t kPieceMost = 256 << 10;
// Between two looks at pipes that are not half full: so that lines are carried many at a time.
constexpr timespec kNap{.tv_sec = 0, .tv_nsec = 2'000'000};
constexpr std::size_t kNoNap = 32 << 10;  // A piece of that size leaves no time to nap.
constexpr std::int64_t kTimesApartUs = 5000;
constexpr Duration kTryAgain = std::chrono::milliseconds(200);
constexpr Duration kEndPatience = std::chrono::seconds(1);

// One file, and the pipe that leads into it.
struct Stream {
  LogTarget target;
  UniqueFd pipe, file, times;
  std::uint64_t times_end = 0;
  std::int64_t last_time_us = 0;
  bool losing = false;  // The file cannot be written to, or not yet again.
  LogGap gap;
  TimePoint try_at;        // While losing.
  bool skip_line = false;  // The rest of a line whose beginning is lost.
  bool in_line = false;    // The file's last byte ends no line.
  bool lost = false;       // It lost bytes once.
  bool ended = false;
};

Status OpenFiles(Stream& stream) {
  const LogTarget& target = stream.target;
  RETURN_IF_ERROR(MakeFolders(target.times_path.substr(0, target.times_path.rfind('/'))));
  // Before the log: a reader that finds the log opens both.
  stream.times.Reset(open(target.times_path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  const off_t size = stream.times.valid() ? lseek(stream.times.get(), 0, SEEK_END) : 0;
  stream.times_end = static_cast<std::uint64_t>(size) / kLogTimeBytes * kLogTimeBytes;
  stream.file.Reset(open(target.path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!stream.file.valid()) return ErrnoStatus("open the log " + target.path, errno);
  return {};
}

// What was taken; less than all of it only with an error in errno.
std::size_t WriteMost(int fd, std::string_view bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = write(fd, bytes.data() + done, bytes.size() - done);
    if (n > 0) done += static_cast<std::size_t>(n);
    if (n < 0 && errno != EINTR) break;
  }
  return done;
}

}  // namespace

struct LogDrain::Shared {
  Shared() : wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { CHECK(wake.valid()); }
  void Wake() {
    const std::uint64_t one = 1;
    CHECK(WriteAll(wake.get(), &one, sizeof one).ok());
  }

  UniqueFd wake;
  Inbox<std::string> news;
  Mutex mutex;
  std::condition_variable_any done;
  std::list<Stream> added GUARDED_BY(mutex);
  std::uint64_t asked GUARDED_BY(mutex) = 0;                  // Settles, and ...
  std::uint64_t settled GUARDED_BY(mutex) = 0;                // ... those that are done.
  std::map<std::string, std::string> ends GUARDED_BY(mutex);  // By path; of those that lost bytes.
  bool forget GUARDED_BY(mutex) = false;                      // With the next one.
  bool end GUARDED_BY(mutex) = false;                         // The same, and leave.
};

// The thread.
class LogDrain::Pump {
 public:
  explicit Pump(std::shared_ptr<Shared> shared)
      : shared_(std::move(shared)), epoll_(epoll_create1(EPOLL_CLOEXEC)), buffer_(kPieceMost) {
    CHECK(epoll_.valid());
    Await(shared_->wake.get(), nullptr);
  }

  void Main() {
    for (;;) {
      const bool flood = Round();
      if (!Obey()) return;
      if (flood) continue;
      pollfd wake{.fd = shared_->wake.get(), .events = POLLIN, .revents = 0};
      ppoll(&wake, 1, &kNap, nullptr);
    }
  }

 private:
  void Await(int fd, Stream* stream) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = stream;
    CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0);
  }

  void Close(Stream& stream) {
    if (!stream.pipe.valid()) return;
    // A child between fork and exec may have this end, too.
    CHECK(epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, stream.pipe.get(), nullptr) == 0);
    stream.pipe.Reset();
  }

  // One piece of each pipe that has something.  Returns whether one had much.
  bool Round() {
    epoll_event events[64];
    const int timeout =
        losing_ == 0 ? -1 : static_cast<int>(kTryAgain / std::chrono::milliseconds(1));
    const int n = epoll_wait(epoll_.get(), events, 64, timeout);
    bool flood = false;
    for (int i = 0; i < n; ++i) {
      auto* stream = static_cast<Stream*>(events[i].data.ptr);
      if (stream != nullptr && Carry(*stream) >= kNoNap) flood = true;
    }
    if (losing_ > 0) {
      for (Stream& stream : streams_) MaybeMend(stream);
    }
    return flood;
  }

  // What the loop asked for.  Returns false when the thread is to leave.
  bool Obey() {
    std::uint64_t count = 0, asked = 0;
    if (read(shared_->wake.get(), &count, sizeof count) < 0) return true;
    bool forget = false, end = false;
    std::list<Stream> added;
    {
      const MutexLock lock(shared_->mutex);
      added.swap(shared_->added);
      asked = shared_->asked;
      forget = std::exchange(shared_->forget, false);
      end = shared_->end;
    }
    for (Stream& stream : streams_) Drain(stream);
    if (forget || end) ForgetAll();
    for (Stream& stream : added) {
      Await(stream.pipe.get(), &stream);
      if (stream.losing) BeginLosing(stream, strerror(ENOSPC));
      Drain(stream);
    }
    streams_.splice(streams_.end(), added);
    const MutexLock lock(shared_->mutex);
    shared_->settled = asked;
    shared_->done.notify_all();
    return !end;
  }

  void Drain(Stream& stream) {
    while (!stream.ended && Carry(stream) > 0) {
    }
  }

  void ForgetAll() {
    for (Stream& stream : streams_) {
      if (stream.losing && !Mend(stream) && stream.gap.lines() > 0) {
        Tell(stream.target.name + ": " + stream.gap.Mark(RealClock().Wall()));
      }
      Close(stream);
    }
    streams_.clear();
    losing_ = 0;
    const MutexLock lock(shared_->mutex);
    shared_->ends.clear();
  }

  // Returns how many bytes the pipe gave; 0: none now, or never again.
  std::size_t Carry(Stream& stream) {
    ssize_t n = 0;
    do {
      n = read(stream.pipe.get(), buffer_.data(), buffer_.size());
    } while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN) return 0;
    if (n <= 0) {
      stream.ended = true;
      Close(stream);
      return 0;
    }
    const std::string_view bytes(buffer_.data(), static_cast<std::size_t>(n));
    Put(stream, bytes);
    if (stream.lost && stream.target.keep_end) KeepEnd(stream, bytes);
    return static_cast<std::size_t>(n);
  }

  void Put(Stream& stream, std::string_view bytes) {
    const WallTime now = RealClock().Wall();
    if (!MaybeMend(stream)) return stream.gap.Lose(bytes, now);
    if (stream.skip_line) {
      const std::size_t end = bytes.find('\n');
      if (end == std::string_view::npos) return;
      bytes.remove_prefix(end + 1);
      stream.skip_line = false;
    }
    if (bytes.empty()) return;
    Stamp(stream, now);
    const std::size_t done = WriteMost(stream.file.get(), bytes);
    const int error = errno;
    if (done > 0) stream.in_line = bytes[done - 1] != '\n';
    if (done == bytes.size()) return;
    if (!stream.lost) BeginEnd(stream, done);
    BeginLosing(stream, strerror(error));
    stream.gap.Lose(bytes.substr(done), now, stream.in_line);
  }

  // Before the bytes: who reads them finds their time.
  void Stamp(Stream& stream, WallTime now) {
    const std::int64_t now_us =
        std::chrono::duration_cast<std::chrono::microseconds>(now.time_since_epoch()).count();
    if (std::abs(now_us - stream.last_time_us) < kTimesApartUs || !stream.times.valid()) return;
    const off_t end = lseek(stream.file.get(), 0, SEEK_END);
    const LogTime time{.offset = static_cast<std::uint64_t>(end), .wall_us = now_us};
    const ssize_t n =
        pwrite(stream.times.get(), &time, sizeof time, static_cast<off_t>(stream.times_end));
    if (n != sizeof time) return;  // What is half there is written over.
    stream.times_end += sizeof time;
    stream.last_time_us = now_us;
  }

  // ---- disks without room -----------------------------------------------------------------------

  void BeginLosing(Stream& stream, const std::string& why) {
    stream.losing = stream.lost = true;
    stream.gap = LogGap(why);
    stream.try_at = RealClock().Now() + kTryAgain;
    if (losing_++ > 0) return;
    Tell("the log of " + stream.target.name + " cannot be written: " + why +
         "; its lines are counted and dropped until it can");
  }

  // From the first loss on, what the file has may not be what was said last.  Until then it is, but
  // for the piece that it did not take all of.
  void BeginEnd(const Stream& stream, std::size_t taken) {
    const off_t end = lseek(stream.file.get(), 0, SEEK_END) - static_cast<off_t>(taken);
    const off_t size = std::min(end, static_cast<off_t>(kLogEndMost));
    std::string before(static_cast<std::size_t>(std::max<off_t>(size, 0)), '\0');
    const ssize_t n = pread(stream.file.get(), before.data(), before.size(), end - size);
    before.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    if (stream.target.keep_end) KeepEnd(stream, before);
  }

  void KeepEnd(const Stream& stream, std::string_view bytes) {
    const MutexLock lock(shared_->mutex);
    std::string& end = shared_->ends[stream.target.path];
    end += bytes;
    if (end.size() > kLogEndMost) end.erase(0, end.size() - kLogEndMost);
  }

  // Whether the file takes bytes now.
  bool MaybeMend(Stream& stream) {
    if (!stream.losing) return true;
    if (RealClock().Now() < stream.try_at) return false;
    stream.try_at = RealClock().Now() + kTryAgain;
    return Mend(stream);
  }

  bool Mend(Stream& stream) {
    if (!stream.file.valid() && !OpenFiles(stream).ok()) return false;
    if (stream.gap.open()) {
      const int file = stream.file.get();
      const off_t end = lseek(file, 0, SEEK_END);
      char last = '\n';
      if (end > 0 && pread(file, &last, 1, end - 1) != 1) return false;
      const std::string bridge = stream.gap.Bridge(last, RealClock().Wall());
      if (WriteMost(file, bridge) != bridge.size()) {
        if (ftruncate(file, end) != 0) stream.try_at += kTryAgain;  // A cut line stays there.
        return false;
      }
      stream.skip_line = stream.gap.mid_line();
      stream.in_line = false;
    }
    stream.losing = false;
    if (--losing_ == 0) Tell("the logs can be written again; each says what it misses");
    return true;
  }

  void Tell(std::string news) { shared_->news.Push(std::move(news)); }

  const std::shared_ptr<Shared> shared_;
  const UniqueFd epoll_;
  std::vector<char> buffer_;
  std::list<Stream> streams_;
  std::size_t losing_ = 0;  // Of the streams.
};

// ---- the loop's thread --------------------------------------------------------------------------

LogDrain::LogDrain() : shared_(std::make_shared<Shared>()) {}

LogDrain::~LogDrain() {
  if (!thread_.joinable()) return;
  {
    const MutexLock lock(shared_->mutex);
    shared_->end = true;
  }
  // One that hangs in its disk is left to it.
  Settle(kEndPatience) ? thread_.join() : thread_.detach();
}

void LogDrain::Start() {
  // Signals are the loop's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([shared = shared_] { Pump(shared).Main(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

Result<UniqueFd> LogDrain::Add(const LogTarget& target, int pipe_bytes) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus("make a pipe for the log", errno);
  UniqueFd reading(ends[0]), writing(ends[1]);
  // The writing end stays blocking: programs expect that.  A smaller pipe does, too.
  CHECK(fcntl(ends[0], F_SETFL, O_NONBLOCK) == 0);
  fcntl(ends[0], F_SETPIPE_SZ, pipe_bytes);
  RETURN_IF_ERROR(AddFrom(target, std::move(reading)));
  return writing;
}

Status LogDrain::AddFrom(const LogTarget& target, UniqueFd source) {
  Stream stream{.target = target, .pipe = std::move(source)};
  if (Status opened = OpenFiles(stream); !opened.ok()) {
    if (opened.code() != Code::kExhausted) return opened;
    stream.losing = true;
  }
  if (!thread_.joinable()) Start();
  {
    const MutexLock lock(shared_->mutex);
    shared_->added.push_back(std::move(stream));
  }
  shared_->Wake();
  return {};
}

std::uint64_t LogDrain::BeginSettle() {
  if (!thread_.joinable()) return 0;
  const MutexLock lock(shared_->mutex);
  const std::uint64_t begun = ++shared_->asked;
  shared_->Wake();
  return begun;
}

std::uint64_t LogDrain::BeginForget() {
  {
    const MutexLock lock(shared_->mutex);
    shared_->forget = true;
  }
  return BeginSettle();
}

bool LogDrain::Settled(std::uint64_t begun, Duration patience) {
  shared_->mutex.lock();
  const bool done =
      shared_->done.wait_for(shared_->mutex, patience, [&] { return shared_->settled >= begun; });
  shared_->mutex.unlock();
  return done;
}

std::optional<std::string> LogDrain::EndOf(const std::string& path) {
  const MutexLock lock(shared_->mutex);
  const auto found = shared_->ends.find(path);
  if (found == shared_->ends.end()) return std::nullopt;
  return found->second;
}

Inbox<std::string>& LogDrain::news() {
  return shared_->news;
}

}  // namespace muster
