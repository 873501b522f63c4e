#include "runtime/comm/group_threads.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "runtime/base/check.h"

namespace muster {
namespace {

constexpr int kCollectiveTag = -1;  // Users' tags are not negative.

class Sent final : public Work {
 public:
  Status wait(Duration) override { return {}; }
};

class Receiving final : public Work {
 public:
  Receiving(ThreadsRendezvous& rendezvous, std::span<std::byte> bytes, int from, int to, int tag)
      : rendezvous_(rendezvous), bytes_(bytes), from_(from), to_(to), tag_(tag) {}
  Status wait(Duration timeout) override {
    return rendezvous_.Take(from_, to_, tag_, bytes_, timeout);
  }

 private:
  ThreadsRendezvous& rendezvous_;
  std::span<std::byte> bytes_;
  int from_, to_, tag_;
};

class ThreadsGroup final : public ProcessGroup {
 public:
  ThreadsGroup(ThreadsRendezvous& rendezvous, int rank, Duration timeout)
      : rendezvous_(rendezvous), rank_(rank), timeout_(timeout) {}

  int rank() const override { return rank_; }
  int world_size() const override { return rendezvous_.world_size(); }

  Status barrier() override {
    std::byte nothing{};
    std::vector<std::byte> all(static_cast<std::size_t>(world_size()));
    return all_gather({&nothing, 1}, all);
  }

  Status broadcast(std::span<std::byte> bytes, int root) override {
    if (rank_ != root) return rendezvous_.Take(root, rank_, kCollectiveTag, bytes, timeout_);
    for (int to = 0; to < world_size(); ++to) {
      if (to != root) rendezvous_.Put(root, to, kCollectiveTag, bytes);
    }
    return {};
  }

  Status all_gather(std::span<const std::byte> mine, std::span<std::byte> all) override {
    CHECK(all.size() == mine.size() * static_cast<std::size_t>(world_size()));
    for (int to = 0; to < world_size(); ++to) {
      if (to != rank_) rendezvous_.Put(rank_, to, kCollectiveTag, mine);
    }
    for (int from = 0; from < world_size(); ++from) {
      const auto part = all.subspan(static_cast<std::size_t>(from) * mine.size(), mine.size());
      if (from == rank_) {
        std::copy(mine.begin(), mine.end(), part.begin());
      } else {
        RETURN_IF_ERROR(rendezvous_.Take(from, rank_, kCollectiveTag, part, timeout_));
      }
    }
    return {};
  }

  Status all_reduce(std::span<std::int64_t> values, ReduceOp op) override {
    const auto ranks = static_cast<std::size_t>(world_size());
    std::vector<std::int64_t> all(values.size() * ranks);
    RETURN_IF_ERROR(all_gather(std::as_bytes(values), std::as_writable_bytes(std::span(all))));
    for (std::size_t i = 0; i < values.size(); ++i) {
      values[i] = all[i];
      for (std::size_t r = 1; r < ranks; ++r) {
        const std::int64_t other = all[r * values.size() + i];
        if (op == ReduceOp::kSum) values[i] += other;
        if (op == ReduceOp::kMin) values[i] = std::min(values[i], other);
        if (op == ReduceOp::kMax) values[i] = std::max(values[i], other);
      }
    }
    return {};
  }

  std::unique_ptr<Work> send(std::span<const std::byte> bytes, int to, int tag) override {
    CHECK(tag >= 0);
    rendezvous_.Put(rank_, to, tag, bytes);
    return std::make_unique<Sent>();
  }

  std::unique_ptr<Work> recv(std::span<std::byte> bytes, int from, int tag) override {
    CHECK(tag >= 0);
    return std::make_unique<Receiving>(rendezvous_, bytes, from, rank_, tag);
  }

 private:
  ThreadsRendezvous& rendezvous_;
  const int rank_;
  const Duration timeout_;
};

}  // namespace

void ThreadsRendezvous::Put(int from, int to, int tag, std::span<const std::byte> bytes) {
  {
    MutexLock lock(mutex_);
    boxes_[{from, to, tag}].emplace_back(bytes.begin(), bytes.end());
  }
  arrived_.notify_all();
}

Status ThreadsRendezvous::Take(int from, int to, int tag, std::span<std::byte> bytes,
                               Duration timeout) {
  const TimePoint deadline = RealClock().Now() + timeout;
  MutexLock lock(mutex_);
  auto& box = boxes_[{from, to, tag}];
  while (box.empty()) {
    if (arrived_.wait_until(mutex_, deadline) == std::cv_status::timeout && box.empty()) {
      return Status(Code::kDeadline, "rank " + std::to_string(to) + " heard nothing from rank " +
                                         std::to_string(from) + " in time");
    }
  }
  CHECK(box.front().size() == bytes.size());  // Both sides name the same size.
  std::copy(box.front().begin(), box.front().end(), bytes.begin());
  box.pop_front();
  return {};
}

std::unique_ptr<ProcessGroup> MakeThreadsGroup(ThreadsRendezvous& rendezvous, int rank,
                                               Duration timeout) {
  CHECK(rank >= 0 && rank < rendezvous.world_size());
  return std::make_unique<ThreadsGroup>(rendezvous, rank, timeout);
}

}  // namespace muster
