#include "launcher/agent/log_places_posix.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace muster {
namespace {

constexpr std::size_t kBlock = 64 << 10;

}  // namespace

std::string_view ReadAt(int fd, std::uint64_t offset, std::string& buffer) {
  ssize_t n = 0;
  do {
    n = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset));
  } while (n < 0 && errno == EINTR);
  return {buffer.data(), n > 0 ? static_cast<std::size_t>(n) : 0};
}

std::uint64_t SizeOf(int fd) {
  struct stat info {};
  return fd >= 0 && fstat(fd, &info) == 0 ? static_cast<std::uint64_t>(info.st_size) : 0;
}

std::uint64_t LineFrom(int fd, std::uint64_t offset) {
  if (offset == 0) return 0;
  std::string buffer(kBlock, '\0');
  for (std::uint64_t at = offset - 1;;) {
    const std::string_view bytes = ReadAt(fd, at, buffer);
    const std::size_t end = bytes.find('\n');
    if (end != std::string_view::npos) return at + end + 1;
    if (bytes.empty()) return std::max(at, offset);
    at += bytes.size();
  }
}

std::uint64_t LastLinesBegin(int fd, std::uint64_t lines) {
  std::string buffer(kBlock, '\0');
  const std::uint64_t size = SizeOf(fd);
  std::uint64_t ends = 0;
  for (std::uint64_t end = size; end > 0;) {
    const std::uint64_t begin = end > kBlock ? end - kBlock : 0;
    buffer.resize(end - begin);
    const std::string_view bytes = ReadAt(fd, begin, buffer);
    for (std::size_t i = bytes.size(); i > 0; --i) {
      // The end of the last line is no line's beginning.
      if (bytes[i - 1] == '\n' && begin + i < size && ++ends == lines) return begin + i;
    }
    end = begin;
  }
  return 0;
}

LogTime LogTimeline::At(std::uint64_t entry) const {
  std::string buffer(kLogTimeBytes, '\0');
  const auto times = DecodeLogTimes(ReadAt(file_.get(), entry * kLogTimeBytes, buffer));
  return times.empty() ? LogTime{.offset = UINT64_MAX, .wall_us = INT64_MAX} : times[0];
}

std::vector<LogTime> LogTimeline::Between(std::uint64_t begin, std::uint64_t end) {
  const std::uint64_t all = count();
  if (all == 0) return {};
  if (!std::exchange(searched_, true)) {
    std::uint64_t above = all;  // The first entry behind `begin`.
    while (entry_ < above) {
      const std::uint64_t middle = entry_ + (above - entry_) / 2;
      At(middle).offset <= begin ? entry_ = middle + 1 : above = middle;
    }
    if (entry_ > 0) --entry_;
  }
  std::vector<LogTime> in_force;
  std::string buffer(kLogTimeBytes * 256, '\0');
  for (std::uint64_t entry = entry_; entry < all;) {
    const auto times = DecodeLogTimes(ReadAt(file_.get(), entry * kLogTimeBytes, buffer));
    if (times.empty()) break;
    for (const LogTime& time : times) {
      if (time.offset >= end) return in_force;
      // A later one from the same byte on, or one that still lies before the first.
      if (!in_force.empty() && time.offset <= std::max(in_force.back().offset, begin)) {
        in_force.pop_back();
      }
      in_force.push_back(time);
      entry_ = entry++;
    }
  }
  return in_force;
}

std::uint64_t LogTimeline::FirstSince(std::int64_t wall_us) {
  std::uint64_t below = 0, above = count();
  if (above == 0) return 0;
  while (below < above) {
    const std::uint64_t middle = below + (above - below) / 2;
    At(middle).wall_us < wall_us ? below = middle + 1 : above = middle;
  }
  return At(below).offset;
}

}  // namespace muster
