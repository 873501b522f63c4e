// What could not be written into a log file because its disk is full, or fails, and how that is
// told in the file once it can be written again.  Pure.
#pragma once

#include <string>
#include <string_view>

#include "runtime/base/clock.h"

namespace muster {

class LogGap {
 public:
  LogGap() = default;
  explicit LogGap(std::string why) : why_(std::move(why)) {}

  // These bytes are lost.  `in_line`: what the file took before them ends inside a line, so that an
  // end of line, if that comes first, ends one that is there, and is no loss.
  void Lose(std::string_view bytes, WallTime at, bool in_line = false);

  bool open() const { return !last_.empty(); }
  // The last lost byte does not end a line: what follows is the rest of one that is lost.
  bool mid_line() const { return open() && last_ != "\n"; }
  // Of which at least a part is lost.
  std::uint64_t lines() const { return lines_ + (mid_line() ? 1 : 0); }
  // One line, for people.
  std::string Mark(WallTime until) const;
  // What is to be written where the gap is, after the file's last byte: the end that its line lost,
  // and the mark, unless that is all that is missing.
  std::string Bridge(char file_end, WallTime until) const;

 private:
  std::string why_;
  std::string last_;  // Lost byte.
  std::uint64_t lines_ = 0;
  WallTime since_;
};

}  // namespace muster
