#include "launcher/jobd/recorder_dump_posix.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include "runtime/base/log.h"

namespace muster {
namespace {

// What a dead or living rank left in its ring.
std::string Read(const RecorderDump::Ring& ring) {
  std::string bytes(ring.bytes, '\0');
  std::size_t at = 0;
  while (at < bytes.size()) {
    const ssize_t n =
        pread(ring.memory.get(), bytes.data() + at, bytes.size() - at, static_cast<off_t>(at));
    if (n <= 0) break;
    at += static_cast<std::size_t>(n);
  }
  bytes.resize(at);
  return bytes;
}

}  // namespace

RecorderDump::RecorderDump() : news_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

RecorderDump::~RecorderDump() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

std::uint64_t RecorderDump::Write(std::vector<Ring> rings) {
  const MutexLock lock(mutex_);
  waiting_.push_back(std::move(rings));
  if (!thread_.joinable()) {
    thread_ = std::jthread([this](const std::stop_token& stop) { Run(stop); });
  }
  wake_.notify_all();
  return ++asked_;
}

std::uint64_t RecorderDump::finished() {
  eventfd_t ignored = 0;
  static_cast<void>(eventfd_read(news_.get(), &ignored));
  const MutexLock lock(mutex_);
  return finished_;
}

void RecorderDump::Run(const std::stop_token& stop) {
  for (;;) {
    std::vector<Ring> rings;
    {
      const MutexLock lock(mutex_);
      wake_.wait(mutex_, stop, [this]() REQUIRES(mutex_) { return !waiting_.empty(); });
      if (waiting_.empty()) return;
      rings = std::move(waiting_.front());
      waiting_.pop_front();
    }
    std::vector<std::string> contents;
    for (const Ring& ring : rings) contents.push_back(Read(ring));
    for (std::size_t i = 0; i < rings.size(); ++i) {
      const Status written = ReplaceFile(rings[i].path, contents[i]);
      if (!written.ok()) {
        Log(LogLevel::kWarning, "a flight recorder is not kept: " + written.message());
      }
    }
    const MutexLock lock(mutex_);
    ++finished_;
    static_cast<void>(eventfd_write(news_.get(), 1));
  }
}

}  // namespace muster
