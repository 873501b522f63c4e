#include "tests/unit/comm/conformance.h"

#include <cstring>
#include <memory>

namespace muster::testing {
namespace {

using Complaints = std::vector<std::string>;

void Expect(bool held, const std::string& promise, Complaints& complaints) {
  if (!held) complaints.push_back(promise);
}

// Bytes that tell who sent them, and which message it was.
std::vector<std::byte> Message(std::size_t size, int from, int number) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] = static_cast<std::byte>(static_cast<std::size_t>(31 * from + 7 * number) + i);
  }
  return bytes;
}

void CheckCollectives(ProcessGroup& group, Complaints& complaints) {
  const int size = group.world_size();
  for (const std::size_t bytes : {1U, 8U, 100'000U}) {
    const auto mine = Message(bytes, group.rank(), 0);
    std::vector<std::byte> all(bytes * static_cast<std::size_t>(size));
    Expect(group.all_gather(mine, all).ok(), "all_gather succeeds", complaints);
    bool right = true;
    for (int r = 0; r < size; ++r) {
      const auto theirs = Message(bytes, r, 0);
      right = right && std::memcmp(all.data() + bytes * static_cast<std::size_t>(r), theirs.data(),
                                   bytes) == 0;
    }
    Expect(right, "all_gather gives rank r's bytes r-th", complaints);
    for (int root = 0; root < size; ++root) {
      auto word = Message(bytes, group.rank(), 1);
      Expect(group.broadcast(word, root).ok(), "broadcast succeeds", complaints);
      Expect(word == Message(bytes, root, 1), "broadcast gives the root's bytes", complaints);
    }
  }
  const std::int64_t last = size - 1;
  for (const auto& [op, expected] : {std::pair{ReduceOp::kSum, last * size / 2},
                                     {ReduceOp::kMin, std::int64_t{0}},
                                     {ReduceOp::kMax, last}}) {
    std::int64_t values[] = {group.rank(), -group.rank()};
    Expect(group.all_reduce(values, op).ok(), "all_reduce succeeds", complaints);
    Expect(values[0] == expected, "all_reduce reduces", complaints);
  }
  Expect(group.barrier().ok(), "barrier succeeds", complaints);
}

// Everybody sends to everybody, several messages of one tag and an empty one, before anybody
// receives.
void CheckTransfers(ProcessGroup& group, Complaints& complaints) {
  constexpr int kMessages = 3;
  for (const std::size_t bytes : {0U, 5U, 300'000U}) {
    std::vector<std::vector<std::byte>> out;
    std::vector<std::vector<std::byte>> in;
    std::vector<std::unique_ptr<Work>> works;
    for (int number = 0; number < kMessages; ++number) {
      out.push_back(Message(bytes, group.rank(), number));
    }
    for (int peer = 0; peer < group.world_size(); ++peer) {
      for (int number = 0; peer != group.rank() && number < kMessages; ++number) {
        works.push_back(group.send(out[static_cast<std::size_t>(number)], peer, 5));
      }
    }
    for (int peer = 0; peer < group.world_size(); ++peer) {
      for (int number = 0; peer != group.rank() && number < kMessages; ++number) {
        works.push_back(group.recv(in.emplace_back(bytes), peer, 5));
      }
    }
    for (const auto& work : works) Expect(work->wait().ok(), "a transfer succeeds", complaints);
    std::size_t next = 0;
    for (int peer = 0; peer < group.world_size(); ++peer) {
      for (int number = 0; peer != group.rank() && number < kMessages; ++number) {
        Expect(in[next++] == Message(bytes, peer, number), "messages of one tag keep their order",
               complaints);
      }
    }
  }
}

// A message that comes late: the first wait ends without it, the next one has it.
void CheckDeadline(ProcessGroup& group, Complaints& complaints) {
  if (group.world_size() == 1) return;
  std::byte word = group.rank() == 1 ? std::byte{9} : std::byte{0};
  std::unique_ptr<Work> work;
  if (group.rank() == 0) {
    work = group.recv({&word, 1}, 1, 6);
    Expect(work->wait(std::chrono::milliseconds(20)).code() == Code::kDeadline,
           "a wait for a silent peer ends", complaints);
  }
  Expect(group.barrier().ok(), "barrier succeeds", complaints);
  if (group.rank() == 1) work = group.send({&word, 1}, 0, 6);
  if (work != nullptr) Expect(work->wait().ok(), "a late message arrives", complaints);
  if (group.rank() == 0) Expect(word == std::byte{9}, "a late message is whole", complaints);
}

}  // namespace

std::vector<std::string> BrokenPromises(ProcessGroup& group) {
  Complaints complaints;
  CheckCollectives(group, complaints);
  CheckTransfers(group, complaints);
  CheckDeadline(group, complaints);
  return complaints;
}

}  // namespace muster::testing
