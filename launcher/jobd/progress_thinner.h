// Which of the steps that rank 0 reports are kept for the curve.
//
// Each step at first; after every 256 points those kept lie twice as far apart.  So a file that is
// only ever appended to holds a few thousand points after a billion steps, and the last half of the
// run always has 128 or more.  A step below the last one (a loop that went back) is kept too. Pure.
#pragma once

#include <cstdint>

namespace muster {

class ProgressThinner {
 public:
  static constexpr std::uint64_t kPerSpacing = 256;
  static constexpr std::uint64_t kMost = 16384;  // Whatever a program reports.

  // Whether this one is to be kept.
  bool Keeps(std::uint64_t step) {
    const bool begins = kept_ == 0;
    const bool back = step < last_;
    if (kept_ >= kMost || (!begins && !back && step - last_ < spacing_)) return false;
    Keep(step);
    return true;
  }

  // The last one of an attempt is kept anyhow.
  bool KeepsLast(std::uint64_t step) {
    if (kept_ >= kMost || (kept_ > 0 && step == last_)) return false;
    Keep(step);
    return true;
  }

 private:
  void Keep(std::uint64_t step) {
    last_ = step;
    if (++kept_ % kPerSpacing == 0) spacing_ *= 2;
  }

  std::uint64_t kept_ = 0;
  std::uint64_t last_ = 0;
  std::uint64_t spacing_ = 1;
};

}  // namespace muster
