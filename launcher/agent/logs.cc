#include "launcher/agent/logs.h"

#include <algorithm>

namespace muster {

bool Wants(const LogWish& wish, const LogName& file) {
  if (file.is_stderr ? wish.selection.no_stderr : wish.selection.no_stdout) return false;
  if (file.attempt < wish.first_attempt || file.attempt > wish.last_attempt) return false;
  if (wish.ranks.empty()) return file.rank >= wish.first_rank && file.rank <= wish.last_rank;
  return std::find(wish.ranks.begin(), wish.ranks.end(), file.rank) != wish.ranks.end() &&
         file.rank >= wish.first_rank && file.rank <= wish.last_rank;
}

}  // namespace muster
