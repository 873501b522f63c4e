// What a simulated world is made of: randomness from a seed, one line of time, clocks that differ,
// and a network of FIFO channels that can be cut.
//
// One thread; the same seed gives the same history.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "runtime/base/clock.h"

namespace muster::sim {

using Micros = std::int64_t;  // True time since the world began; no one in the world knows it.

inline constexpr Micros kMilli = 1000;
inline constexpr Micros kSecond = 1000 * kMilli;

class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed * 0x9E3779B97F4A7C15U + 0x1234567U) {}
  std::uint64_t Next();
  std::int64_t Below(std::int64_t n) {
    return static_cast<std::int64_t>(Next() % static_cast<std::uint64_t>(n));
  }
  std::int64_t Between(std::int64_t low, std::int64_t high) { return low + Below(high - low + 1); }
  bool Chance(int percent) { return Below(100) < percent; }
  bool OneIn(std::int64_t n) { return Below(n) == 0; }

 private:
  std::uint64_t state_;
};

class Timeline {
 public:
  using Action = std::function<void()>;
  Micros now() const { return now_; }
  void At(Micros when, Action action);
  void After(Micros delay, Action action) { At(now_ + delay, std::move(action)); }
  // Runs the next action that is due before `end`; false when there is none.
  bool RunOne(Micros end);
  // Nothing happens for so long, while all clocks go on: what was due comes later, in its order.
  void Pause(Micros length);

 private:
  struct Entry {
    Micros when;
    std::uint64_t number;
    Action action;
    bool operator>(const Entry& other) const {
      return when != other.when ? when > other.when : number > other.number;
    }
  };
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> queue_;
  Micros now_ = 0;
  std::uint64_t count_ = 0;
};

// A host's monotonic clock: its own zero, and up to 1 % too fast or too slow.
struct HostClock {
  std::int64_t zero_ns = 0;
  std::int64_t ns_per_us = 1000;
  TimePoint At(Micros when) const;
  Micros TrueTime(TimePoint at) const;
};

using HostId = std::size_t;  // 0: the coordinator's; nodes from 1.

class Network;

// One connection between two processes: each direction in order, nothing lost while it stands.
class Connection : public std::enable_shared_from_this<Connection> {
 public:
  Connection(Network& network, HostId a, HostId b);

  // Ends are 0 and 1.  `closed` is called once, when the other end has closed it.
  std::function<void()> closed[2];

  // `late`: how much longer than usual it takes to be read.
  void Send(int from_end, Timeline::Action action, Micros late = 0);
  // Everything sent before still arrives, then the other end sees the close.
  void Close(int end);
  // The end's process died: what it sent may be cut short.  `silent`: so did its host.
  void Die(int end, bool silent);
  bool open(int end) const { return !dead_[end]; }

 private:
  friend class Network;
  struct Way {
    HostId from = 0, to = 0;
    std::deque<std::pair<Micros, Timeline::Action>> messages;
    bool pumping = false;
  };
  void Pump(int from_end);
  void Push(int from_end, Timeline::Action action, Micros late);

  Network& network_;
  Way ways_[2];
  bool dead_[2] = {false, false};
};

class Network {
 public:
  Network(Timeline& timeline, Random& random, std::size_t hosts)
      : timeline_(timeline), random_(random), blocked_(hosts, std::vector<int>(hosts)) {}
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;
  ~Network();

  std::shared_ptr<Connection> Connect(HostId a, HostId b);
  // Cuts one direction; cuts add up, each is healed by its own Heal().
  void Block(HostId from, HostId to) { ++blocked_[from][to]; }
  void Heal(HostId from, HostId to);
  // Whether a message may now and then take as long as the fence time.
  void set_rough(bool rough) { rough_ = rough; }
  bool Blocked(HostId from, HostId to) const { return blocked_[from][to] > 0; }
  bool Reachable(HostId a, HostId b) const { return !Blocked(a, b) && !Blocked(b, a); }

 private:
  friend class Connection;
  Micros Delay(HostId from, HostId to);

  Timeline& timeline_;
  Random& random_;
  bool rough_ = true;
  std::vector<std::vector<int>> blocked_;
  std::vector<std::pair<std::weak_ptr<Connection>, int>> stalled_;
  std::vector<std::weak_ptr<Connection>> all_;
};

}  // namespace muster::sim
