#include "runtime/comm/group_threads.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <tuple>

#include "runtime/base/check.h"
#include "runtime/base/mutex.h"
#include "runtime/comm/communication_threads.h"
#include "runtime/comm/node_exchange_posix.h"

namespace muster {

class ThreadsRoom {
 public:
  explicit ThreadsRoom(int world_size)
      : world_size_(world_size),
        bytes_(NodeExchange::Bytes(world_size)),
        memory_(static_cast<std::byte*>(std::calloc(1, bytes_ + kAlignment))) {
    CHECK(memory_ != nullptr);
  }

  int world_size() const { return world_size_; }
  std::span<std::byte> memory() const {
    const auto address = reinterpret_cast<std::uintptr_t>(memory_.get());
    return {memory_.get() + (kAlignment - address % kAlignment) % kAlignment, bytes_};
  }

  // The one room of those who split off with the same color.
  std::shared_ptr<ThreadsRoom> Part(const SplitPlan& plan);

  struct Message {
    DType dtype = DType::kU8;
    std::vector<std::byte> bytes;
  };
  struct Address {
    int from = 0, to = 0, tag = 0;
    auto operator<=>(const Address&) const = default;
  };
  void Put(const Address& address, const ConstBuffer& buffer);
  // Messages of one address are numbered; so are those who wait for them.
  std::uint64_t Ticket(const Address& address);
  bool Arrived(const Address& address, std::uint64_t ticket);
  // Nothing: not until the deadline, or aborted.
  std::unique_ptr<Message> Take(const Address& address, std::uint64_t ticket, TimePoint deadline,
                                const AbortFlag& abort);
  void Wake() { changed_.notify_all(); }

 private:
  static constexpr std::size_t kAlignment = 4096;
  struct Box {
    std::uint64_t put = 0;
    std::uint64_t asked = 0;
    std::map<std::uint64_t, Message> messages;
  };
  struct NewRoom {
    std::shared_ptr<ThreadsRoom> room;
    std::size_t expected = 0;
  };
  struct Free {
    void operator()(std::byte* bytes) const { std::free(bytes); }  // From calloc.
  };

  const int world_size_;
  const std::size_t bytes_;
  const std::unique_ptr<std::byte, Free> memory_;
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::map<Address, Box> boxes_ GUARDED_BY(mutex_);
  std::map<std::pair<std::uint64_t, std::int64_t>, NewRoom> parts_ GUARDED_BY(mutex_);
};

std::shared_ptr<ThreadsRoom> ThreadsRoom::Part(const SplitPlan& plan) {
  MutexLock lock(mutex_);
  const std::pair key(plan.seq, plan.color);
  NewRoom& part = parts_[key];
  if (part.room == nullptr) {
    part.room = std::make_shared<ThreadsRoom>(static_cast<int>(plan.members.size()));
    part.expected = plan.members.size();
  }
  std::shared_ptr<ThreadsRoom> room = part.room;
  if (--part.expected == 0) parts_.erase(key);
  return room;
}

void ThreadsRoom::Put(const Address& address, const ConstBuffer& buffer) {
  Message message{.dtype = buffer.dtype, .bytes = {buffer.at(0), buffer.at(buffer.count)}};
  {
    MutexLock lock(mutex_);
    Box& box = boxes_[address];
    box.messages[box.put++] = std::move(message);
  }
  changed_.notify_all();
}

std::uint64_t ThreadsRoom::Ticket(const Address& address) {
  MutexLock lock(mutex_);
  return boxes_[address].asked++;
}

bool ThreadsRoom::Arrived(const Address& address, std::uint64_t ticket) {
  MutexLock lock(mutex_);
  return boxes_[address].messages.contains(ticket);
}

std::unique_ptr<ThreadsRoom::Message> ThreadsRoom::Take(const Address& address,
                                                        std::uint64_t ticket, TimePoint deadline,
                                                        const AbortFlag& abort) {
  constexpr auto kLook = std::chrono::milliseconds(100);  // Wake may come just before the wait.
  MutexLock lock(mutex_);
  auto& messages = boxes_[address].messages;
  auto message = messages.find(ticket);
  while (message == messages.end()) {
    const TimePoint now = RealClock().Now();
    if (now >= deadline || abort.set()) return nullptr;
    changed_.wait_until(mutex_, std::min(deadline, now + kLook));
    message = messages.find(ticket);
  }
  auto taken = std::make_unique<Message>(std::move(message->second));
  messages.erase(message);
  return taken;
}

namespace {

class Receiving final : public Work {
 public:
  Receiving(ThreadsRoom& room, const Call& call, int rank, const AbortFlag& abort)
      : Work(call.seq),
        room_(room),
        call_(call.collective),
        abort_(abort),
        address_{.from = call_.root, .to = rank, .tag = call_.tag},
        ticket_(room.Ticket(address_)) {}

  bool done() override { return ended_ || abort_.set() || room_.Arrived(address_, ticket_); }

  Status wait(Duration timeout) override {
    if (ended_) return status_;
    const auto message = room_.Take(address_, ticket_, RealClock().Now() + timeout, abort_);
    if (message == nullptr && !abort_.set()) {
      return Status(Code::kDeadline, Name() + ": nothing came in time");
    }
    ended_ = true;
    status_ = message == nullptr ? abort_.reason() : Accept(*message);
    return status_;
  }

 private:
  std::string Name() const {
    return "rank " + std::to_string(address_.to) + ": " + Describe(SignatureOf(call_)) + " tag " +
           std::to_string(call_.tag);
  }

  Status Accept(const ThreadsRoom::Message& message) const {
    if (message.dtype != call_.out.dtype || message.bytes.size() != call_.out.bytes()) {
      Collective sent = Collective::Send(
          {nullptr, message.bytes.size() / SizeOf(message.dtype), message.dtype}, address_.to, 0);
      return Status(Code::kInvalid, Name() + ", but rank " + std::to_string(address_.from) + ": " +
                                        Describe(SignatureOf(sent)));
    }
    if (!message.bytes.empty()) {
      std::memcpy(call_.out.data, message.bytes.data(), message.bytes.size());
    }
    return {};
  }

  ThreadsRoom& room_;
  const Collective call_;
  const AbortFlag& abort_;
  const ThreadsRoom::Address address_;
  const std::uint64_t ticket_;
  bool ended_ = false;
  Status status_;
};

class ThreadsBackend final : public Backend {
 public:
  ThreadsBackend(std::shared_ptr<ThreadsRoom> room, int rank)
      : Backend(rank, room->world_size()),
        room_(std::move(room)),
        exchange_(room_->memory(), rank, room_->world_size(), abort_),
        thread_([this](const Call& call) { return exchange_.Run(call); }, abort_) {}

  const char* name() const override { return "threads"; }
  Status Run(const Call& call) override { return thread_.Run(call); }

  std::unique_ptr<Work> Start(const Call& call) override {
    const Collective& c = call.collective;
    if (!c.IsTransfer()) return thread_.Start(call);
    if (c.kind == Collective::Kind::kRecv) {
      return std::make_unique<Receiving>(*room_, call, rank(), abort_);
    }
    room_->Put({.from = rank(), .to = c.root, .tag = c.tag}, c.in);
    return std::make_unique<EndedWork>(call.seq, Status());
  }

  Result<std::unique_ptr<Backend>> Split(const SplitPlan& plan) override {
    std::unique_ptr<Backend> part;
    if (!plan.members.empty()) {
      part = std::make_unique<ThreadsBackend>(room_->Part(plan), plan.rank);
    }
    return part;
  }

 protected:
  void Wake() override {
    exchange_.Wake();
    room_->Wake();
  }

 private:
  const std::shared_ptr<ThreadsRoom> room_;
  NodeExchange exchange_;
  CommunicationThread thread_;  // Last: it ends first.
};

}  // namespace

ThreadsRendezvous::ThreadsRendezvous(int world_size)
    : room_(std::make_shared<ThreadsRoom>(world_size)) {
  CHECK(world_size > 0);
}

ThreadsRendezvous::~ThreadsRendezvous() = default;

int ThreadsRendezvous::world_size() const {
  return room_->world_size();
}

std::unique_ptr<Backend> MakeThreadsBackend(const ThreadsRendezvous& rendezvous, int rank) {
  CHECK(rank >= 0 && rank < rendezvous.world_size());
  return std::make_unique<ThreadsBackend>(rendezvous.room(), rank);
}

std::unique_ptr<ProcessGroup> MakeThreadsGroup(const ThreadsRendezvous& rendezvous, int rank,
                                               Duration timeout) {
  return std::make_unique<ProcessGroup>(MakeThreadsBackend(rendezvous, rank), timeout);
}

}  // namespace muster
