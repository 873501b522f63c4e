#include "tests/unit/comm/conformance.h"

#include <cstring>
#include <memory>

#include "runtime/comm/mesh.h"

namespace muster::testing {
namespace {

constexpr auto kShort = std::chrono::milliseconds(20);

bool Says(const Status& status, const std::string& words) {
  return status.message().find(words) != std::string::npos;
}

// Parts of `n` bytes, one from each rank, as all_gather lays them out.
std::vector<std::byte> Messages(std::size_t n, int ranks, int number) {
  std::vector<std::byte> all;
  for (int r = 0; r < ranks; ++r) {
    const auto part = Message(n, r, number);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

// What rank `from` sends to rank `to` in an all_to_all or a scatter.
std::vector<std::byte> Personal(std::size_t n, int from, int to) {
  return Message(n, from, 10 + to);
}

std::vector<std::byte> AllPersonal(std::size_t n, int from, int ranks) {
  std::vector<std::byte> all;
  for (int r = 0; r < ranks; ++r) {
    const auto part = Personal(n, from, r);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

void CheckGathers(ProcessGroup& group, std::size_t bytes, Complaints& complaints) {
  const int size = group.world_size();
  const auto me = static_cast<std::size_t>(group.rank());
  const auto mine = Message(bytes, group.rank(), 0);
  const auto all = Messages(bytes, size, 0);
  std::vector<std::byte> out(all.size());
  ExpectOk(group.all_gather(mine, out), "all_gather", complaints);
  Expect(out == all, "all_gather gives rank r's bytes r-th", complaints);
  std::vector<std::byte> in_place(all.size());
  const std::span part(in_place.data() + me * bytes, bytes);
  std::copy(mine.begin(), mine.end(), part.begin());
  ExpectOk(group.all_gather(part, in_place), "all_gather", complaints);
  Expect(in_place == all, "all_gather works in place", complaints);
  for (int root = 0; root < size; ++root) {
    const bool wanted = root == group.rank();
    std::vector<std::byte> gathered(wanted ? all.size() : 0);
    ExpectOk(group.gather(mine, gathered, root), "gather", complaints);
    Expect(!wanted || gathered == all, "gather gives the root rank r's bytes r-th", complaints);
  }
}

void CheckScatters(ProcessGroup& group, std::size_t bytes, Complaints& complaints) {
  const int size = group.world_size();
  for (int root = 0; root < size; ++root) {
    auto word = Message(bytes, group.rank(), 1);
    ExpectOk(group.broadcast(word, root), "broadcast", complaints);
    Expect(word == Message(bytes, root, 1), "broadcast gives the root's bytes", complaints);
    const auto dealt =
        root == group.rank() ? AllPersonal(bytes, root, size) : std::vector<std::byte>();
    std::vector<std::byte> part(bytes);
    ExpectOk(group.scatter(dealt, part, root), "scatter", complaints);
    Expect(part == Personal(bytes, root, group.rank()), "scatter deals the root's parts",
           complaints);
  }
  const auto in = AllPersonal(bytes, group.rank(), size);
  std::vector<std::byte> out(in.size());
  ExpectOk(group.all_to_all(in, out), "all_to_all", complaints);
  std::vector<std::byte> expected;
  for (int from = 0; from < size; ++from) {
    const auto part = Personal(bytes, from, group.rank());
    expected.insert(expected.end(), part.begin(), part.end());
  }
  Expect(out == expected, "all_to_all gives everybody's part for this rank", complaints);
}

// `mine` on rank `odd`, `others` on all others, in a group of its own.
void Disagree(ProcessGroup& group, const Collective& mine, const Collective& others,
              Complaints& complaints) {
  const int odd = group.world_size() / 2;
  auto part = group.split(0, 0);
  ExpectOk(part.status(), "split", complaints);
  if (!part.ok()) return;
  const bool is_odd = group.rank() == odd;
  const Status status = (*part)->start(is_odd ? mine : others)->wait();
  Expect(status.code() == Code::kInvalid, "ranks that disagree are told: " + status.message(),
         complaints);
  // Of two ranks neither is the majority; the first one is named last.
  const std::string one = "rank " + std::to_string(odd) + ": " + Describe(SignatureOf(mine));
  const std::string other =
      (group.world_size() == 2 ? "rank 0: " : "all others: ") + Describe(SignatureOf(others));
  Expect(Says(status, one) && Says(status, other),
         "each rank's call is named (" + one + "; " + other + "): " + status.message(), complaints);
  Expect((*part)->barrier() == status, "a group that failed stays so", complaints);
}

}  // namespace

void Expect(bool held, const std::string& promise, Complaints& complaints) {
  if (!held) complaints.push_back(promise);
}

void ExpectOk(const Status& status, const std::string& doing, Complaints& complaints) {
  Expect(status.ok(), doing + " succeeds: " + status.message(), complaints);
}

std::vector<std::byte> Message(std::size_t size, int from, int number) {
  std::vector<std::byte> bytes(size);
  for (std::size_t i = 0; i < size; ++i) {
    bytes[i] =
        static_cast<std::byte>(31U * static_cast<unsigned>(from) +
                               7U * static_cast<unsigned>(number) + static_cast<unsigned>(i));
  }
  return bytes;
}

void CheckMoves(ProcessGroup& group, Complaints& complaints) {
  for (const std::size_t bytes : {0U, 1U, 13U, 4099U}) {
    CheckGathers(group, bytes, complaints);
    CheckScatters(group, bytes, complaints);
  }
  CheckGathers(group, 300'007, complaints);
  CheckScatters(group, 300'007, complaints);
  ExpectOk(group.barrier(), "barrier", complaints);
}

// Everybody sends to everybody, several messages of one tag and an empty one, before anybody
// receives.
void CheckTransfers(ProcessGroup& group, Complaints& complaints) {
  constexpr int kMessages = 3;
  struct Kind {
    std::size_t bytes;
    bool in_pieces;
  };
  for (const Kind& kind :
       {Kind{0, false}, {5, false}, {300'000, false}, {0, true}, {5, true}, {300'000, true}}) {
    const std::size_t bytes = kind.bytes;
    const auto start = [&](Collective call) {
      call.in_pieces = kind.in_pieces;
      return group.start(call);
    };
    std::vector<std::vector<std::byte>> out;
    std::vector<std::vector<std::byte>> in;
    std::vector<std::unique_ptr<Work>> works;
    for (int number = 0; number < kMessages; ++number) {
      out.push_back(Message(bytes, group.rank(), number));
    }
    for (int peer = 0; peer < group.world_size(); ++peer) {
      for (int number = 0; peer != group.rank() && number < kMessages; ++number) {
        works.push_back(start(Collective::Send(out[static_cast<std::size_t>(number)], peer, 5)));
      }
    }
    in.reserve(static_cast<std::size_t>(group.world_size()) * kMessages);
    for (int peer = 0; peer < group.world_size(); ++peer) {
      for (int number = 0; peer != group.rank() && number < kMessages; ++number) {
        works.push_back(start(Collective::Recv(in.emplace_back(bytes), peer, 5)));
      }
    }
    // The last first: whose bytes are whose does not depend on who is waited for.
    for (std::size_t i = works.size(); i-- > 0;) {
      ExpectOk(works[i]->wait(), "a transfer", complaints);
    }
    std::size_t next = 0;
    for (int peer = 0; peer < group.world_size(); ++peer) {
      for (int number = 0; peer != group.rank() && number < kMessages; ++number) {
        Expect(in[next++] == Message(bytes, peer, number), "messages of one tag keep their order",
               complaints);
      }
    }
  }
}

// Several calls under way, a blocking one behind them, and waits in another order.
void CheckStarted(ProcessGroup& group, Complaints& complaints) {
  constexpr std::size_t kCalls = 6;
  const auto ranks = group.world_size();
  std::vector<std::vector<float>> sums(kCalls);
  std::vector<std::unique_ptr<Work>> works;
  for (std::size_t i = 0; i < kCalls; ++i) {
    sums[i].assign(i * 20'011 + 1, static_cast<float>(group.rank() + 1) * static_cast<float>(i));
    works.push_back(group.start(Collective::AllReduce(sums[i], ReduceOp::kSum)));
  }
  std::int64_t last[] = {group.rank()};
  ExpectOk(group.all_reduce(std::span(last), ReduceOp::kMax), "all_reduce behind others",
           complaints);
  Expect(last[0] == ranks - 1, "a blocking call takes its place behind started ones", complaints);
  for (std::size_t i = kCalls; i-- > 0;) {
    ExpectOk(works[i]->wait(), "a started all_reduce", complaints);
    Expect(works[i]->done(), "what was waited for is done", complaints);
    Expect(i == 0 || works[i]->seq() == works[i - 1]->seq() + 1, "calls are numbered", complaints);
    const int ones = ranks * (ranks + 1) / 2;
    const float expected = static_cast<float>(ones) * static_cast<float>(i);
    Expect(sums[i].front() == expected && sums[i].back() == expected,
           "started calls end with the same as blocking ones", complaints);
  }
}

void CheckParts(ProcessGroup& group, Complaints& complaints) {
  const int size = group.world_size();
  const int rank = group.rank();
  // Odd and even ranks, in reverse; the last rank stays out.
  const bool out = rank == size - 1;
  auto part = group.split(out ? -1 : rank % 2, -rank);
  ExpectOk(part.status(), "split", complaints);
  if (!part.ok()) return;
  Expect((*part == nullptr) == out, "a negative color is in no group", complaints);
  if (*part != nullptr) {
    int above = 0;
    for (int r = rank + 2; r < size - 1; r += 2) ++above;
    Expect((*part)->rank() == above, "split orders by key", complaints);
    std::int64_t ranks[] = {rank, 1};
    ExpectOk((*part)->all_reduce(std::span(ranks), ReduceOp::kSum), "all_reduce of a part",
             complaints);
    Expect(ranks[1] == (*part)->world_size(), "a part has its own ranks", complaints);
    auto again = (*part)->split(0, 0);
    ExpectOk(again.status(), "split of a part", complaints);
    if (again.ok()) ExpectOk((*again)->barrier(), "barrier of a part's part", complaints);
  }
  if (size % 2 != 0) return;
  auto mesh = Mesh::Make(group, {{"node", 2}, {"rank", size / 2}});
  ExpectOk(mesh.status(), "mesh", complaints);
  if (!mesh.ok()) return;
  std::int64_t sum[] = {rank};
  ExpectOk((*mesh->group("node"))->all_reduce(std::span(sum), ReduceOp::kSum), "mesh", complaints);
  Expect(sum[0] == 2 * (rank % (size / 2)) + size / 2, "a mesh's groups lie along its axes",
         complaints);
  Expect(!mesh->group("tp").ok(), "a mesh has only the axes that it was given", complaints);
}

void CheckArguments(ProcessGroup& group, Complaints& complaints) {
  const std::uint64_t before = group.seq();
  std::vector<float> four(4);
  std::vector<std::int32_t> whole(4);
  const int size = group.world_size();
  const auto refused = [&](const Collective& call, const std::string& words) {
    const Status status = group.start(call)->wait();
    Expect(status.code() == Code::kInvalid && Says(status, words),
           "refused with '" + words + "': " + status.message(), complaints);
  };
  refused(Collective::AllReduce(whole, ReduceOp::kAvg), "avg of i32");
  refused(Collective::AllReduce(four, whole, ReduceOp::kSum), "one type");
  refused(Collective::Broadcast(four, size), "the root is");
  refused(Collective::Send(four, size, 0), "not in the group");
  refused(Collective::Recv(four, group.rank(), 0), "this rank itself");
  if (size > 1) refused(Collective::Send(four, (group.rank() + 1) % size, -1), "counts from 0");
  refused(Collective::AllReduce(std::span(four).first(3), std::span(four).last(3), ReduceOp::kSum),
          "overlap");
  refused(Collective::AllReduce({nullptr, 4, DType::kF32}, four, ReduceOp::kSum), "nullptr");
  std::vector<float> other(static_cast<std::size_t>(size) * 4 + 1);
  refused(Collective::AllGather(four, other), "elements");
  if (size > 1) {
    std::vector<float> out(other.size());
    refused(Collective::AllToAll(other, out), "do not divide");
  }
  Expect(group.seq() == before, "a refused call has not happened", complaints);
  ExpectOk(group.barrier(), "barrier after refused calls", complaints);
}

void CheckDisagreements(ProcessGroup& group, Complaints& complaints) {
  if (group.world_size() == 1) return;
  std::vector<float> f(100'000);
  std::vector<float> g(100'000);
  std::vector<std::int32_t> i(1000);
  const auto all = [&](std::size_t n, ReduceOp op) {
    return Collective::AllReduce(std::span(f).first(n), op);
  };
  Disagree(group, all(1000, ReduceOp::kSum), all(1000, ReduceOp::kMax), complaints);
  Disagree(group, all(1000, ReduceOp::kSum), all(90'001, ReduceOp::kSum), complaints);
  Disagree(group, all(100'000, ReduceOp::kSum), Collective::AllReduce(i, ReduceOp::kSum),
           complaints);
  Disagree(group, all(1000, ReduceOp::kSum), Collective::Broadcast(std::span(f).first(1000), 0),
           complaints);
  Disagree(group, Collective::Broadcast(f, 0), Collective::Broadcast(f, 1), complaints);
  Disagree(group, Collective::Barrier(), Collective::Reduce(f, g, ReduceOp::kSum, 0), complaints);

  // A message of another size: more than there is room for, and less.
  for (const std::size_t sent : {8U, 100'000U}) {
    std::vector<float> room(17, 0.5F);
    if (group.rank() == 1) {
      static_cast<void>(group.start(Collective::Send(std::span(f).first(sent), 0, 3))->wait());
    }
    if (group.rank() != 0) continue;
    const Status status = group.recv(std::span(room).first(16), 1, 3);
    Expect(status.code() == Code::kInvalid && Says(status, "recv f32[16] from 1 tag 3"),
           "a message of another size is an error of the recv: " + status.message(), complaints);
    Expect(room.back() == 0.5F, "no memory behind the buffer is written", complaints);
  }
  ExpectOk(group.barrier(), "barrier after messages of other sizes", complaints);
}

void CheckEnds(ProcessGroup& group, Complaints& complaints) {
  if (group.world_size() == 1) return;
  // A message that comes late: the first wait ends without it, the next one has it.
  std::byte word = group.rank() == 1 ? std::byte{9} : std::byte{0};
  std::unique_ptr<Work> work;
  if (group.rank() == 0) {
    work = group.start(Collective::Recv(std::span(&word, 1), 1, 6));
    Expect(!work->done(), "what has not come is not done", complaints);
    Expect(work->wait(kShort).code() == Code::kDeadline, "a wait for a silent peer ends",
           complaints);
  }
  ExpectOk(group.barrier(), "barrier", complaints);
  if (group.rank() == 1) ExpectOk(group.send(std::span(&word, 1), 0, 6), "send", complaints);
  if (work != nullptr) ExpectOk(work->wait(), "a late message", complaints);
  if (group.rank() == 0) Expect(word == std::byte{9}, "a late message is whole", complaints);

  // Rank 0 comes, nobody else does.
  auto part = group.split(0, 0);
  ExpectOk(part.status(), "split", complaints);
  if (part.ok() && group.rank() == 0) {
    (*part)->set_timeout(kShort);
    const Status status = (*part)->barrier();
    Expect(status.code() == Code::kDeadline && Says(status, "rank"),
           "a wait for silent ranks ends: " + status.message(), complaints);
  }
  ExpectOk(group.barrier(), "barrier", complaints);

  auto other = group.split(0, 0);
  ExpectOk(other.status(), "split", complaints);
  if (other.ok() && group.rank() == 0) {
    const auto waiting = (*other)->start(Collective::Recv(std::span(&word, 1), 1, 7));
    const auto summing = (*other)->start(Collective::Barrier());
    const Status enough(Code::kAborted, "enough");
    (*other)->abort(enough);
    Expect(waiting->wait() == enough, "abort ends a recv", complaints);
    Expect(summing->wait() == enough, "abort ends a started collective", complaints);
    Expect((*other)->barrier() == enough, "abort ends later calls", complaints);
  }
  ExpectOk(group.barrier(), "barrier", complaints);
}

Complaints BrokenPromises(ProcessGroup& group, const GroupShape& shape) {
  Complaints complaints;
  CheckMoves(group, complaints);
  CheckReductions(group, shape, complaints);
  CheckTransfers(group, complaints);
  CheckStarted(group, complaints);
  CheckParts(group, complaints);
  CheckArguments(group, complaints);
  CheckDisagreements(group, complaints);
  CheckEnds(group, complaints);
  return complaints;
}

}  // namespace muster::testing
