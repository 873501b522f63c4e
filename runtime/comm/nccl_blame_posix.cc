#include <algorithm>
#include <charconv>

#include "runtime/comm/nccl_blame_posix.h"
#include "runtime/comm/pause_posix.h"

namespace muster {

void Blame::Tell(std::uint64_t seq) {
  // What cannot be told costs a name in a message, no more.
  static_cast<void>(store_.Set(KeyOf(rank_), std::to_string(seq)));
}

std::string Blame::Missing(std::uint64_t seq, Duration patience) {
  const TimePoint deadline = RealClock().Now() + patience;
  std::vector<int> missing;
  for (int r = 0; r < ranks_; ++r) {
    if (r != rank_) missing.push_back(r);
  }
  while (!missing.empty()) {
    std::erase_if(missing, [&](int r) {
      const auto told = store_.Get(KeyOf(r), Duration::zero());
      std::uint64_t at = 0;
      if (!told.ok()) return false;
      const auto parsed = std::from_chars(told->data(), told->data() + told->size(), at);
      return parsed.ec == std::errc() && at >= seq;
    });
    if (RealClock().Now() >= deadline) break;
    PauseShort();
  }
  std::string text;
  for (const int r : missing) text += (text.empty() ? "" : ", ") + std::to_string(r);
  if (text.empty()) return text;
  return (missing.size() == 1 ? "rank " : "ranks ") + text + " did not come";
}

}  // namespace muster
