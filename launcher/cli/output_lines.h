// What ranks wrote, as a terminal or a file gets it: whole lines, each with its rank in front.
//
// Bytes are kept as they are.  With `prefix` off nothing is touched at all, not even the end of the
// last line.  With it on, a last line without its end gets one, and a line over kLongestLine is
// broken there: memory stays bounded.  Pure; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>

namespace muster {

inline constexpr std::size_t kLongestLine = 1 << 20;

class OutputLines {
 public:
  explicit OutputLines(bool prefix) : prefix_(prefix) {}

  // What may be written now, whole lines only (or all of it when there is no prefix).
  std::string Take(std::uint32_t rank, bool is_stderr, std::string_view bytes);

  // What is left of the rank's stream, ended.
  std::string Flush(std::uint32_t rank, bool is_stderr);

  // All that is left, stdout or stderr, in the order of the ranks.
  std::string FlushAll(bool is_stderr);

 private:
  bool prefix_;
  std::map<std::pair<std::uint32_t, bool>, std::string> partial_;
};

}  // namespace muster
