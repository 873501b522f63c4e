// What rank 0 reads in place of /dev/null: a pipe, or a terminal, which is also what it writes to.
//
// Nothing here waits; the loop's thread only.
#pragma once

#include <cstdint>

#include "runtime/base/file_posix.h"
#include "runtime/base/result.h"

namespace muster {

class RankInput {
 public:
  static Result<RankInput> MakePipe();
  static Result<RankInput> MakeTerminal(std::uint32_t rows, std::uint32_t columns);

  bool terminal() const { return terminal_; }
  // What the rank gets; open until it is forked.
  int rank_end() const { return rank_end_.get(); }
  void Forked() { rank_end_.Reset(); }

  // For who writes to it; of a pipe the only one, so that its end is the input's.  Never blocks.
  // Once: whoever had it may have closed it.
  Result<UniqueFd> Take();
  // For who reads what the rank writes to its terminal.
  Result<UniqueFd> Output() const;
  // Nobody writes to it any more.
  void End();

 private:
  UniqueFd rank_end_, our_end_;
  bool terminal_ = false;
  bool taken_ = false;
};

}  // namespace muster
