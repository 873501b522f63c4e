#include "launcher/jobd/out_of_memory_posix.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "launcher/jobd/kernel_log.h"
#include "launcher/jobd/machine_posix.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr std::size_t kRecordsMost = 1 << 20;

// The number after `word` in a file of "word number" lines.
std::optional<std::uint64_t> NumberIn(const std::string& path, const std::string& word) {
  const Result<std::string> text = ReadFile(path);
  if (!text.ok()) return std::nullopt;
  for (const std::string& line : Split(*text, '\n')) {
    if (line.rfind(word + " ", 0) == 0) return ParseUnsigned(line.substr(word.size() + 1));
  }
  return std::nullopt;
}

std::optional<std::uint64_t> Number(const std::string& path) {
  const Result<std::string> text = ReadFile(path);
  return text.ok() ? ParseUnsigned(Split(*text, '\n')[0]) : std::nullopt;
}

// This process's folders in the memory hierarchies of both versions.
struct MemoryGroup {
  bool v2 = false;
  std::string folder;
};
std::vector<MemoryGroup> OwnGroups(const std::string& group) {
  std::vector<MemoryGroup> groups;
  if (!group.empty()) groups.push_back({.v2 = true, .folder = group});
  const Result<std::string> own = ReadFile("/proc/self/cgroup");
  if (!own.ok()) return groups;
  for (const std::string& line : Split(*own, '\n')) {
    const std::vector<std::string> parts = Split(line, ':');
    if (parts.size() < 3) continue;
    if (parts[1] == "memory") groups.push_back({.folder = "/sys/fs/cgroup/memory" + parts[2]});
    if (parts[1].empty()) groups.push_back({.v2 = true, .folder = "/sys/fs/cgroup" + parts[2]});
  }
  return groups;
}

// Processes that the killer ended in these groups so far.
std::uint64_t KillsIn(const std::string& group) {
  for (const MemoryGroup& own : OwnGroups(group)) {
    const auto kills =
        NumberIn(own.folder + (own.v2 ? "/memory.events" : "/memory.oom_control"), "oom_kill");
    if (kills) return *kills;
  }
  return 0;
}

std::uint64_t KillsOnMachine() {
  return NumberIn("/proc/vmstat", "oom_kill").value_or(0);
}

}  // namespace

void OutOfMemoryWatch::Begin(const std::string& group) {
  group_ = group;
  records_.clear();
  log_.Reset(open(kernel_log_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
  if (log_.valid()) lseek(log_.get(), 0, SEEK_END);
  of_group_ = KillsIn(group_);
  of_machine_ = KillsOnMachine();
}

bool OutOfMemoryWatch::LogTells(pid_t pid) {
  std::array<char, 8192> record{};
  while (log_.valid()) {
    const ssize_t n = read(log_.get(), record.data(), record.size());
    if (n <= 0 && errno != EPIPE) break;  // EPIPE: some were overwritten before we came.
    if (n > 0) records_.append(record.data(), static_cast<std::size_t>(n)) += '\n';
    if (n == 0) break;
  }
  if (records_.size() > kRecordsMost) records_.erase(0, records_.size() - kRecordsMost);
  return TellsOfOutOfMemory(records_, pid);
}

bool OutOfMemoryWatch::Ended(pid_t pid, std::uint64_t used_bytes) {
  const std::uint64_t of_group = KillsIn(group_), of_machine = KillsOnMachine();
  // One kill counts for one rank.
  const bool in_group = of_group > of_group_, on_machine = of_machine > of_machine_;
  bool ended = LogTells(pid) || in_group;
  // Anybody's: it is believed of a rank that had a good part of the memory.
  if (!ended) ended = on_machine && used_bytes >= Limit(group_) / 16;
  if (!ended) return false;
  if (in_group) ++of_group_;
  if (on_machine) ++of_machine_;
  return true;
}

std::uint64_t OutOfMemoryWatch::Limit(const std::string& group) {
  std::uint64_t limit = PhysicalMemory();
  for (const MemoryGroup& own : OwnGroups(group)) {
    std::string folder = own.folder;
    while (folder.size() > std::string("/sys/fs/cgroup").size()) {
      const auto most = Number(folder + (own.v2 ? "/memory.max" : "/memory.limit_in_bytes"));
      if (most) limit = std::min(limit, *most);
      folder.resize(folder.rfind('/'));
    }
  }
  return limit;
}

}  // namespace muster
