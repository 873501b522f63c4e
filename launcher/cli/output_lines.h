// What ranks wrote, as a terminal, a file or a script gets it: whole lines, each with where it
// comes from in front, or as JSON.
//
// Bytes are kept as they are.  Without a prefix nothing is touched at all, not even the end of the
// last line.  With one, a last line without its end gets one, and a line over kLongestLine is
// broken there: memory stays bounded.  Pure; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "launcher/cli/cluster.h"

namespace muster {

inline constexpr std::size_t kLongestLine = 1 << 20;

enum class Prefix : std::uint8_t {
  kAuto,  // On a terminal full, else rank; nothing for a job of one rank.
  kNone,
  kRank,  // "[3] text".
  kFull,  // "12:03:07.214 n0 3| text": when it was written, by the node's clock, and where.
  kJson,  // An object a line.
};

struct OutputFormat {
  Prefix prefix = Prefix::kRank;  // Not kAuto.
  std::int64_t utc_offset_s = 0;  // Of the reader's time.
  JobId job = 0;
  bool rank0_has_terminal = false;  // In the first attempt: what it writes is shown as it comes.
};

class OutputLines {
 public:
  explicit OutputLines(OutputFormat format) : format_(format) {}

  // What may be written now, whole lines only (or all of it when there is no prefix).
  std::string Take(const LogPiece& piece);

  // All that is left, stdout or stderr, in the order of the ranks.
  std::string FlushAll(bool is_stderr);

 private:
  // A line that has begun.
  struct Begun {
    AttemptNumber attempt = 0;
    NodeName node;
    std::int64_t wall_us = 0;  // Of its first byte; 0: not known.
    std::string text;
    std::uint64_t skipped = 0;  // Lines before it, not told yet.
    bool skip = false;
  };
  using Key = std::pair<std::uint32_t, bool>;  // The rank, and whether it is stderr.

  void Append(const Key& key, Begun& begun, const LogPiece& piece, std::string* out) const;
  void End(const Key& key, Begun& begun, std::string_view rest, std::string* out) const;
  void TellSkipped(const Key& key, Begun& begun, std::string* out) const;

  const OutputFormat format_;
  std::map<Key, Begun> begun_;
};

}  // namespace muster
