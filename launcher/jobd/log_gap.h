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

  // These bytes are lost.
  void Lose(std::string_view bytes, WallTime at);

  bool open() const { return !last_.empty(); }
  // The last lost byte does not end a line: what follows is the rest of one that is lost.
  bool mid_line() const { return open() && last_ != "\n"; }
  // One line for the file, to be written where the gap is.
  std::string Mark(WallTime until) const;

 private:
  std::string why_;
  std::string last_;  // Lost byte.
  std::uint64_t lines_ = 0;
  WallTime since_;
};

}  // namespace muster
