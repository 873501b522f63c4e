#include "tests/sim/kernel.h"

#include <algorithm>

namespace muster::sim {

std::uint64_t Random::Next() {
  std::uint64_t z = (state_ += 0x9E3779B97F4A7C15U);
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

void Timeline::At(Micros when, Action action) {
  queue_.push({std::max(when, now_), count_++, std::move(action)});
}

void Timeline::Pause(Micros length) {
  decltype(queue_) later;
  for (; !queue_.empty(); queue_.pop()) {
    Entry entry = std::move(const_cast<Entry&>(queue_.top()));  // It leaves next.
    entry.when += length;
    later.push(std::move(entry));
  }
  queue_ = std::move(later);
}

bool Timeline::RunOne(Micros end) {
  if (queue_.empty() || queue_.top().when > end) return false;
  Action action = std::move(const_cast<Entry&>(queue_.top()).action);  // It leaves next.
  now_ = queue_.top().when;
  queue_.pop();
  action();
  return true;
}

TimePoint HostClock::At(Micros when) const {
  return TimePoint(Duration(zero_ns + when * ns_per_us));
}

Micros HostClock::TrueTime(TimePoint at) const {
  return (at.time_since_epoch().count() - zero_ns) / ns_per_us + 1;
}

Connection::Connection(Network& network, HostId a, HostId b) : network_(network) {
  ways_[0] = {.from = a, .to = b};
  ways_[1] = {.from = b, .to = a};
}

void Connection::Send(int from_end, Timeline::Action action, Micros late) {
  if (dead_[from_end]) return;
  auto deliver = [this, from_end, action = std::move(action)] {
    if (!dead_[1 - from_end]) action();
  };
  Push(from_end, std::move(deliver), late);
}

void Connection::Push(int from_end, Timeline::Action action, Micros late) {
  Way& way = ways_[from_end];
  Micros arrival = network_.timeline_.now() + network_.Delay(way.from, way.to) + late;
  if (!way.messages.empty()) arrival = std::max(arrival, way.messages.back().first);
  way.messages.emplace_back(arrival, std::move(action));
  if (way.pumping) return;
  way.pumping = true;
  auto self = shared_from_this();
  network_.timeline_.At(arrival, [self, from_end] { self->Pump(from_end); });
}

void Connection::Pump(int from_end) {
  Way& way = ways_[from_end];
  way.pumping = false;
  if (way.messages.empty()) return;
  const auto self = shared_from_this();
  if (network_.Blocked(way.from, way.to)) {
    way.pumping = true;
    network_.stalled_.emplace_back(self, from_end);
    return;
  }
  const Timeline::Action action = std::move(way.messages.front().second);
  way.messages.pop_front();
  if (!way.messages.empty()) {
    way.pumping = true;
    network_.timeline_.At(way.messages.front().first, [self, from_end] { self->Pump(from_end); });
  }
  action();
}

void Connection::Close(int end) {
  if (dead_[end]) return;
  dead_[end] = true;
  auto closing = [this, end] {
    if (dead_[1 - end]) return;
    dead_[1 - end] = true;
    if (closed[1 - end]) closed[1 - end]();
  };
  Push(end, std::move(closing), 0);
}

void Connection::Die(int end, bool silent) {
  if (dead_[end]) return;
  auto& messages = ways_[end].messages;
  if (!messages.empty() && network_.random_.Chance(50)) {
    messages.resize(static_cast<std::size_t>(
        network_.random_.Below(static_cast<std::int64_t>(messages.size()) + 1)));
  }
  if (silent) {
    dead_[end] = true;
  } else {
    Close(end);
  }
}

std::shared_ptr<Connection> Network::Connect(HostId a, HostId b) {
  auto connection = std::make_shared<Connection>(*this, a, b);
  all_.push_back(connection);
  return connection;
}

// What is under way may hold the connection that it travels on.
Network::~Network() {
  for (const auto& weak : all_) {
    const auto connection = weak.lock();
    if (!connection) continue;
    for (auto& way : connection->ways_) way.messages.clear();
    for (auto& closed : connection->closed) closed = nullptr;
  }
}

void Network::Heal(HostId from, HostId to) {
  if (--blocked_[from][to] > 0) return;
  auto stalled = std::move(stalled_);
  stalled_.clear();
  for (auto& [weak, end] : stalled) {
    const auto connection = weak.lock();
    if (!connection) continue;
    // TCP tries again at growing intervals, so each channel wakes at a moment of its own.
    timeline_.After(random_.Between(0, 300 * kMilli),
                    [connection, end = end] { connection->Pump(end); });
  }
}

Micros Network::Delay(HostId from, HostId to) {
  if (from == to) return random_.Between(10, 300);
  if (rough_ && random_.OneIn(500)) return random_.Between(400 * kMilli, 2500 * kMilli);
  if (random_.OneIn(60)) return random_.Between(5 * kMilli, 400 * kMilli);
  return random_.Between(50, 1500);
}

}  // namespace muster::sim
