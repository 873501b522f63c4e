#include "runtime/comm/node_exchange_posix.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "runtime/base/check.h"

namespace muster {
namespace {

using Kind = Collective::Kind;

constexpr std::size_t kLine = 64;
constexpr std::size_t kPage = 4096;
// Up to here a second barrier costs more than that every rank reduces everything.
constexpr std::size_t kShortBytes = std::size_t{16} << 10U;
// What two ranks have in flight stays near them with long blocks, which need fewer barriers; that
// of eight does not.  With other nodes the size must be one for all of them.
constexpr std::size_t kBlockBytes = std::size_t{256} << 10U;
constexpr std::size_t kLongBlockBytes = std::size_t{512} << 10U;

std::size_t BlockBytes(std::size_t ranks, bool bridged) {
  return ranks <= 2 && !bridged ? kLongBlockBytes : kBlockBytes;
}

}  // namespace

struct NodeExchange::Header {
  struct alignas(kLine) Seat {
    std::atomic<std::uint64_t> steps;  // Barriers that the rank has come to.
    Signature published[2];            // By the parity of the call.
  };
  struct alignas(kLine) Verdict {
    std::uint32_t code;
    char text[2048 - sizeof(std::uint32_t)];
  };

  NodeBarrier::Shared barrier;
  Verdict verdict;

  Seat& seat(std::size_t rank) { return reinterpret_cast<Seat*>(this + 1)[rank]; }
};

std::size_t NodeExchange::Bytes(int ranks) {
  const auto n = static_cast<std::size_t>(ranks);
  const std::size_t header = sizeof(Header) + n * sizeof(Header::Seat);
  return (header + kPage - 1) / kPage * kPage + 2 * (n + 1) * BlockBytes(n, false);
}

NodeExchange::NodeExchange(std::span<std::byte> memory, int rank, int ranks, const AbortFlag& abort,
                           NodeBridge* bridge)
    : rank_(static_cast<std::size_t>(rank)),
      ranks_(static_cast<std::size_t>(ranks)),
      block_bytes_(BlockBytes(ranks_, bridge != nullptr)),
      bridge_(bridge),
      header_(reinterpret_cast<Header*>(memory.data())),
      blocks_(memory.data() + Bytes(ranks) - 2 * (ranks_ + 1) * block_bytes_),
      barrier_(header_->barrier, static_cast<std::uint32_t>(ranks), 0, kPeerTimeout, &abort),
      inputs_(ranks_) {
  CHECK(memory.size() >= Bytes(ranks));
  CHECK(reinterpret_cast<std::uintptr_t>(memory.data()) % kLine == 0);
  // Part sizes of a block stay multiples of a cache line.
  CHECK(ranks_ <= block_bytes_ / kLine);
  if (bridge_ != nullptr) under_way_.resize(bridge_->depth() * 2 * block_bytes_);
}

std::byte* NodeExchange::Staged(std::size_t parity, std::size_t rank) const {
  return blocks_ + (parity * (ranks_ + 1) + rank) * block_bytes_;
}

std::byte* NodeExchange::Reduced(std::size_t parity) const {
  return Staged(parity, ranks_);
}

Status NodeExchange::Run(const Call& call) {
  const Collective& c = call.collective;
  const bool at_root = c.root == static_cast<int>(rank_);
  switch (c.kind) {
    case Kind::kBarrier:
      return Enter(call);
    case Kind::kAllReduce:
      if (bridge_ == nullptr && c.in.bytes() <= kShortBytes) return AllReduceShort(call);
      return Reduce(call, true);
    case Kind::kReduce:
      return Reduce(call, at_root);
    case Kind::kReduceScatter:
      return ReduceScatter(call);
    case Kind::kAllGather:
    case Kind::kSplit:
      return Gather(call, true);
    case Kind::kGather:
      return Gather(call, at_root);
    case Kind::kBroadcast:
      return Broadcast(call);
    case Kind::kAllToAll:
      return AllToAll(call);
    case Kind::kScatter:
      return Scatter(call);
    default:
      return Status(Code::kInternal, std::string(NameOf(c.kind)) + " is no collective");
  }
}

// ---- Meeting ------------------------------------------------------------------------------------

Status NodeExchange::Enter(const Call& call) {
  const std::size_t parity = ++calls_ % 2;
  const Signature mine = SignatureOf(call.collective);
  // A rank may still compare the call before; none can be at the one before that.
  header_->seat(rank_).published[parity] = mine;
  RETURN_IF_ERROR(Sync(call));
  if (bridge_ != nullptr) return AgreeWithNodes(call);
  bool equal = true;
  for (std::size_t r = 0; r < ranks_; ++r) {
    equal = equal && header_->seat(r).published[parity] == mine;
  }
  if (equal) return {};
  std::vector<Signature> all;
  for (std::size_t r = 0; r < ranks_; ++r) all.push_back(header_->seat(r).published[parity]);
  return CheckAgreement(all, call.seq);
}

Status NodeExchange::AgreeWithNodes(const Call& call) {
  Header::Verdict& verdict = header_->verdict;
  if (rank_ == 0) {
    std::vector<Signature> of_node;
    for (std::size_t r = 0; r < ranks_; ++r) {
      of_node.push_back(header_->seat(r).published[calls_ % 2]);
    }
    const Status status = bridge_->Agree(of_node, call);
    verdict.code = static_cast<std::uint32_t>(status.code());
    const std::size_t length = std::min(status.message().size(), sizeof verdict.text - 1);
    std::memcpy(verdict.text, status.message().data(), length);
    verdict.text[length] = 0;
  }
  RETURN_IF_ERROR(Sync(call));
  // It is written next behind the next call's first barrier.
  if (verdict.code == 0) return {};
  return Status(static_cast<Code>(verdict.code), verdict.text);
}

Status NodeExchange::Sync(const Call& call) {
  auto& steps = header_->seat(rank_).steps;
  steps.store(steps.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  Status status = barrier_.Wait(call.timeout);
  return status.code() == Code::kDeadline ? Missing(call, status) : status;
}

Status NodeExchange::Missing(const Call& call, const Status& why) const {
  const std::uint64_t mine = header_->seat(rank_).steps.load();
  std::string missing;
  for (std::size_t r = 0; r < ranks_; ++r) {
    if (header_->seat(r).steps.load() >= mine) continue;
    const int rank = bridge_ == nullptr ? static_cast<int>(r) : bridge_->RankOf(r);
    missing += (missing.empty() ? "" : ", ") + std::to_string(rank);
  }
  if (missing.empty()) return why;
  const auto seconds = std::chrono::duration<double>(call.timeout).count();
  return Status(Code::kDeadline, "rank " + missing + " did not come to " +
                                     Describe(SignatureOf(call.collective)) + " (call " +
                                     std::to_string(call.seq) + " of the group) within " +
                                     std::to_string(seconds) + " s");
}

}  // namespace muster
