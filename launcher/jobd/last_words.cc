#include "launcher/jobd/last_words.h"

#include <algorithm>
#include <array>
#include <cctype>

namespace muster {
namespace {

constexpr std::size_t kLines = 20;
constexpr std::size_t kBytes = 4096;
constexpr std::string_view kTraceback = "Traceback (most recent call last):";
constexpr std::array<std::string_view, 2> kChains = {
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:"};

// In lower case.  Each is a way to say that the other end of a connection is gone or silent.
constexpr std::array<std::string_view, 39> kMarks = {
    // libc, and whoever prints errno.
    "connection reset", "broken pipe", "connection aborted", "software caused connection abort",
    "transport endpoint is not connected", "no route to host", "connection timed out",
    "socket closed", "connection was forcibly closed",
    // Python.
    "connectionreseterror", "brokenpipeerror", "connectionabortederror",
    // gloo, and torch's store and watchdogs.
    "connection closed by peer", "connection closed by remote peer", "connection was likely closed",
    "did the remote server shutdown", "application timeout caused pair closure",
    "timed out waiting", "watchdog caught collective operation timeout",
    "some nccl operations have failed or timed out", "ncclcommabort", "client socket has timed out",
    "client socket has failed to connect", "monitoredbarrier",
    // NCCL.
    "remote process exit", "unhandled system error", "ncclsystemerror", "ncclremoteerror",
    // MPI and what is below it.
    "mpi_err_proc_failed", "mpi_err_revoked", "errors occurred in socket",
    "communication error with rank", "endpoint timeout", "peer process", "process failure",
    // Horovod, JAX, gRPC.
    "horovod has been shut down", "another task died", "distributed service detected fatal errors",
    "failed to connect to all addresses"};

std::string Lower(std::string_view text) {
  std::string lower(text);
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower;
}

std::size_t LineStart(std::string_view text, std::size_t at) {
  const std::size_t before = at == 0 ? std::string_view::npos : text.rfind('\n', at - 1);
  return before == std::string_view::npos ? 0 : before + 1;
}

// The line above the one that begins at `start`, blank ones passed over; empty: there is none.
std::string_view LineAbove(std::string_view text, std::size_t start) {
  while (start > 0) {
    const std::size_t above = LineStart(text, start - 1);
    std::string_view line = text.substr(above, start - 1 - above);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.find_first_not_of(" \t|") != std::string_view::npos) return line;
    start = above;
  }
  return {};
}

bool LedToThis(std::string_view line) {
  return std::any_of(kChains.begin(), kChains.end(), [&](std::string_view chain) {
    return line.find(chain) != std::string_view::npos;
  });
}

// Where the last traceback begins, with those that led to it; npos: there is none.
std::size_t TracebackStart(std::string_view text) {
  std::size_t found = text.rfind(kTraceback);
  std::size_t start = std::string_view::npos;
  while (found != std::string_view::npos) {
    start = LineStart(text, found);
    const bool nested = start < found && text.find_first_not_of(" \t|+-", start) < found;
    const bool inside = text[start] == ' ' || nested;  // Of an exception group.
    if (!inside && !LedToThis(LineAbove(text, start))) return start;
    const std::size_t earlier =
        start == 0 ? std::string_view::npos : text.rfind(kTraceback, start - 1);
    if (earlier == std::string_view::npos) return start;
    found = earlier;
  }
  return start;
}

std::string_view LastLines(std::string_view text, bool whole) {
  std::size_t start = LineStart(text, text.size());
  for (std::size_t i = 1; i < kLines && start > 0; ++i) start = LineStart(text, start - 1);
  std::string_view lines = text.substr(start);
  const bool cut = lines.size() > kBytes;
  if (cut) lines.remove_prefix(lines.size() - kBytes);
  if (!cut && (start != 0 || whole)) return lines;
  // Its first line may be the end of one.
  const std::size_t first = lines.find('\n');
  return first == std::string_view::npos ? lines : lines.substr(first + 1);
}

}  // namespace

std::string LastWords(std::string_view tail, bool whole) {
  if (tail.size() > kLastWordsMost) {
    tail.remove_prefix(tail.size() - kLastWordsMost);
    whole = false;
  }
  while (!tail.empty() && (tail.back() == '\n' || tail.back() == '\r')) tail.remove_suffix(1);
  const std::size_t start = TracebackStart(tail);
  return std::string(start == std::string_view::npos ? LastLines(tail, whole) : tail.substr(start));
}

bool BlamesPeer(std::string_view last_words) {
  const bool traceback = last_words.find(kTraceback) != std::string_view::npos;
  while (!last_words.empty()) {
    const std::size_t end = std::min(last_words.find('\n'), last_words.size());
    const std::string_view line = last_words.substr(0, end);
    last_words.remove_prefix(std::min(end + 1, last_words.size()));
    const bool frame = !line.empty() && line[0] == ' ' && line.find('|') == std::string_view::npos;
    if (traceback && frame) continue;  // Or its source.
    const std::string lower = Lower(line);
    for (const std::string_view mark : kMarks) {
      if (lower.find(mark) != std::string::npos) return true;
    }
  }
  return false;
}

}  // namespace muster
