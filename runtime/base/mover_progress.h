// Where a mover is: a page of memory that it shares with its job daemon, which can so tell one that
// is slow from one that stands, and say where it stands, when a store does not answer.
//
// The mover writes, the daemon reads.  The texts are read only once they have not changed for long.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>

namespace muster::mover {

struct Progress {
  std::atomic<std::uint64_t> moves;   // Grows with each thing that begins or ends.
  std::atomic<std::uint64_t> bytes;   // Read and written for the present request.
  std::atomic<std::uint64_t> offset;  // In the file.
  std::array<char, 24> verb;
  std::array<char, 488> path;

  void Begin(const char* what, const std::string& where, std::uint64_t at) {
    std::snprintf(verb.data(), verb.size(), "%s", what);
    std::snprintf(path.data(), path.size(), "%s", where.c_str());
    offset.store(at, std::memory_order_relaxed);
    Move();
  }
  void Move() { moves.fetch_add(1, std::memory_order_release); }

  // "write run/data/... at byte 8388608, after 96 MiB at 41.2 MB/s".  `seconds`: from the request
  // on until it stood still.
  std::string Where(double seconds) const {
    const auto text = [](const auto& chars) {
      return std::string(chars.data(), strnlen(chars.data(), chars.size()));
    };
    const auto moved = static_cast<double>(bytes.load(std::memory_order_relaxed));
    char rate[96];
    std::snprintf(rate, sizeof rate, " at byte %llu, after %.1f MB at %.1f MB/s",
                  static_cast<unsigned long long>(offset.load(std::memory_order_relaxed)),
                  moved / 1e6, seconds > 0 ? moved / 1e6 / seconds : 0.0);
    return text(verb) + " " + text(path) + rate;
  }
};
static_assert(sizeof(Progress) <= 4096 && std::atomic<std::uint64_t>::is_always_lock_free);

}  // namespace muster::mover
