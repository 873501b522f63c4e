#include "runtime/comm/collective.h"

#include <algorithm>

namespace muster {
namespace {

using Kind = Collective::Kind;

bool Reduces(Kind kind) {
  return kind == Kind::kAllReduce || kind == Kind::kReduceScatter || kind == Kind::kReduce;
}

bool HasRoot(Kind kind) {
  return kind == Kind::kBroadcast || kind == Kind::kReduce || kind == Kind::kGather ||
         kind == Kind::kScatter;
}

Status Wrong(const Collective& call, const std::string& what) {
  return Status(Code::kInvalid, std::string(NameOf(call.kind)) + ": " + what);
}

std::string Shape(const ConstBuffer& buffer) {
  return std::string(NameOf(buffer.dtype)) + "[" + std::to_string(buffer.count) + "]";
}

// in.count must be times * out.count, or the other way round.
Status CheckCounts(const Collective& call, std::size_t in_parts, std::size_t out_parts) {
  const std::size_t whole = std::max(in_parts, out_parts);
  if (call.in.dtype != call.out.dtype) {
    return Wrong(call, "the input is " + Shape(call.in) + " and the output " + Shape(call.out) +
                           "; both have one type");
  }
  if (call.in.count * out_parts == call.out.count * in_parts) return {};
  std::string allowed = "both have the same number of elements";
  if (in_parts != out_parts) {
    allowed = std::string("the ") + (in_parts > out_parts ? "input" : "output") + " has " +
              std::to_string(whole) + " times (one part a rank) the elements of the other";
  }
  return Wrong(call, "the input is " + Shape(call.in) + " and the output " + Shape(call.out) +
                         "; " + allowed);
}

// Overlap is an error unless `allowed` (where in or out may lie within the other) is met.
Status CheckOverlap(const Collective& call, const void* small, const void* allowed) {
  const auto* in = static_cast<const std::byte*>(call.in.data);
  const auto* out = static_cast<const std::byte*>(call.out.data);
  const bool apart = in + call.in.bytes() <= out || out + call.out.bytes() <= in;
  if (apart || call.in.count == 0 || call.out.count == 0) return {};
  if (allowed != nullptr && small == allowed) return {};
  return Wrong(call, allowed == nullptr
                         ? "the input and the output overlap; it does not work in place"
                         : "the input and the output overlap, but not as in place, where the "
                           "smaller of both is this rank's part of the other");
}

Status CheckTransfer(const Collective& call, int rank, int world_size) {
  const std::string peer = "rank " + std::to_string(call.root);
  if (call.root < 0 || call.root >= world_size) {
    return Wrong(call, peer + " is not in the group, whose ranks are 0 to " +
                           std::to_string(world_size - 1));
  }
  if (call.root == rank) return Wrong(call, peer + " is this rank itself; copy the memory");
  if (call.tag < 0) {
    return Wrong(call, "the tag is " + std::to_string(call.tag) + "; it counts from 0");
  }
  return {};
}

Status CheckMemory(const Collective& call, bool reads, bool writes) {
  if ((reads && call.in.count > 0 && call.in.data == nullptr) ||
      (writes && call.out.count > 0 && call.out.data == nullptr)) {
    return Wrong(call, "a buffer that is not empty lies at nullptr");
  }
  return {};
}

Status CheckShape(const Collective& call, int rank, std::size_t n) {
  const auto part = static_cast<std::size_t>(rank);
  const bool at_root = call.root == rank;
  switch (call.kind) {
    case Kind::kAllReduce:
      RETURN_IF_ERROR(CheckCounts(call, 1, 1));
      return CheckOverlap(call, call.in.data, call.out.data);
    case Kind::kReduce:
      if (!at_root) return {};
      RETURN_IF_ERROR(CheckCounts(call, 1, 1));
      return CheckOverlap(call, call.in.data, call.out.data);
    case Kind::kReduceScatter:
      RETURN_IF_ERROR(CheckCounts(call, n, 1));
      return CheckOverlap(call, call.out.data, call.in.at(part * call.out.count));
    case Kind::kScatter:
      if (!at_root) return {};
      RETURN_IF_ERROR(CheckCounts(call, n, 1));
      return CheckOverlap(call, call.out.data, call.in.at(part * call.out.count));
    case Kind::kAllGather:
    case Kind::kSplit:
      RETURN_IF_ERROR(CheckCounts(call, 1, n));
      return CheckOverlap(call, call.in.data, call.out.at(part * call.in.count));
    case Kind::kGather:
      if (!at_root) return {};
      RETURN_IF_ERROR(CheckCounts(call, 1, n));
      return CheckOverlap(call, call.in.data, call.out.at(part * call.in.count));
    case Kind::kAllToAll:
      RETURN_IF_ERROR(CheckCounts(call, 1, 1));
      if (call.in.count % n != 0) {
        return Wrong(call, std::to_string(call.in.count) + " elements do not divide by " +
                               std::to_string(n) + " ranks; each rank gets one part");
      }
      return CheckOverlap(call, call.in.data, nullptr);
    default:
      return {};
  }
}

Collective Make(Kind kind, ConstBuffer in, Buffer out) {
  Collective call;
  call.kind = kind;
  call.in = in;
  call.out = out;
  return call;
}

// "rank 2" or "ranks 1, 3".
std::string Ranks(const std::vector<std::size_t>& ranks) {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (std::size_t i = 0; i < ranks.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(ranks[i]);
  }
  return text;
}

}  // namespace

std::size_t SizeOf(DType dtype) {
  constexpr std::size_t kSizes[] = {4, 8, 2, 2, 4, 8, 1};
  return kSizes[static_cast<std::size_t>(dtype)];
}

const char* NameOf(DType dtype) {
  constexpr const char* kNames[] = {"f32", "f64", "f16", "bf16", "i32", "i64", "u8"};
  return kNames[static_cast<std::size_t>(dtype)];
}

bool IsFloat(DType dtype) {
  return dtype <= DType::kBF16;
}

const char* NameOf(ReduceOp op) {
  constexpr const char* kNames[] = {"sum", "avg", "min", "max", "prod"};
  return kNames[static_cast<std::size_t>(op)];
}

const char* NameOf(Collective::Kind kind) {
  constexpr const char* kNames[] = {"all_reduce", "reduce_scatter", "all_gather", "broadcast",
                                    "reduce",     "all_to_all",     "gather",     "scatter",
                                    "barrier",    "split",          "send",       "recv"};
  return kNames[static_cast<std::size_t>(kind)];
}

Collective Collective::AllReduce(ConstBuffer in, Buffer out, ReduceOp op) {
  Collective call = Make(Kind::kAllReduce, in, out);
  call.op = op;
  return call;
}

Collective Collective::ReduceScatter(ConstBuffer in, Buffer out, ReduceOp op) {
  Collective call = Make(Kind::kReduceScatter, in, out);
  call.op = op;
  return call;
}

Collective Collective::AllGather(ConstBuffer in, Buffer out) {
  return Make(Kind::kAllGather, in, out);
}

Collective Collective::Broadcast(Buffer buffer, int root) {
  Collective call = Make(Kind::kBroadcast, buffer, buffer);
  call.root = root;
  return call;
}

Collective Collective::Reduce(ConstBuffer in, Buffer out, ReduceOp op, int root) {
  Collective call = Make(Kind::kReduce, in, out);
  call.op = op;
  call.root = root;
  return call;
}

Collective Collective::AllToAll(ConstBuffer in, Buffer out) {
  return Make(Kind::kAllToAll, in, out);
}

Collective Collective::Gather(ConstBuffer in, Buffer out, int root) {
  Collective call = Make(Kind::kGather, in, out);
  call.root = root;
  return call;
}

Collective Collective::Scatter(ConstBuffer in, Buffer out, int root) {
  Collective call = Make(Kind::kScatter, in, out);
  call.root = root;
  return call;
}

Collective Collective::Send(ConstBuffer in, int to, int tag) {
  Collective call = Make(Kind::kSend, in, {});
  call.root = to;
  call.tag = tag;
  return call;
}

Collective Collective::Recv(Buffer out, int from, int tag) {
  Collective call = Make(Kind::kRecv, {}, out);
  call.root = from;
  call.tag = tag;
  return call;
}

Status Check(const Collective& call, int rank, int world_size) {
  if (call.IsTransfer()) {
    RETURN_IF_ERROR(CheckTransfer(call, rank, world_size));
    return CheckMemory(call, true, true);
  }
  if (HasRoot(call.kind) && (call.root < 0 || call.root >= world_size)) {
    return Wrong(call, "the root is " + std::to_string(call.root) +
                           "; the ranks of the group are 0 to " + std::to_string(world_size - 1));
  }
  const DType dtype = SignatureOf(call).dtype;
  if (Reduces(call.kind) && call.op == ReduceOp::kAvg && !IsFloat(dtype)) {
    return Wrong(call, std::string("avg of ") + NameOf(dtype) +
                           " would not be an integer; use sum, or a float type");
  }
  const bool at_root = call.root == rank;
  const bool reads = call.kind != Kind::kScatter || at_root;
  const bool writes = (call.kind != Kind::kReduce && call.kind != Kind::kGather) || at_root;
  RETURN_IF_ERROR(CheckMemory(call, reads, writes));
  return CheckShape(call, rank, static_cast<std::size_t>(world_size));
}

Signature SignatureOf(const Collective& call) {
  Signature signature{.kind = call.kind};
  if (call.kind == Kind::kBarrier) return signature;
  // The side that every rank has, and that has c elements; all_to_all has no such side.
  const bool by_out = call.kind == Kind::kReduceScatter || call.kind == Kind::kScatter ||
                      call.kind == Kind::kBroadcast || call.kind == Kind::kRecv;
  signature.dtype = by_out ? call.out.dtype : call.in.dtype;
  signature.count = by_out ? call.out.count : call.in.count;
  if (Reduces(call.kind)) signature.op = call.op;
  if (HasRoot(call.kind) || call.IsTransfer()) signature.root = call.root;
  return signature;
}

std::uint64_t Hash(const Signature& s) {
  // splitmix64's finaliser over both words.
  const auto mix = [](std::uint64_t x) {
    x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31U);
  };
  const std::uint64_t what = static_cast<std::uint64_t>(s.kind) |
                             static_cast<std::uint64_t>(s.dtype) << 8U |
                             static_cast<std::uint64_t>(s.op) << 16U |
                             static_cast<std::uint64_t>(static_cast<std::uint32_t>(s.root)) << 32U;
  return mix(mix(what + 0x9E3779B97F4A7C15ULL) + s.count);
}

std::string Describe(const Signature& s) {
  std::string text = NameOf(s.kind);
  if (s.kind == Kind::kBarrier || s.kind == Kind::kSplit) return text;
  text += std::string(" ") + NameOf(s.dtype) + "[" + std::to_string(s.count) + "]";
  if (Reduces(s.kind)) text += std::string(" ") + NameOf(s.op);
  if (s.root < 0) return text;
  const bool from = s.kind == Kind::kBroadcast || s.kind == Kind::kScatter || s.kind == Kind::kRecv;
  return text + (from ? " from " : " to ") + std::to_string(s.root);
}

Status CheckAgreement(std::span<const Signature> by_rank, std::uint64_t seq) {
  if (std::all_of(by_rank.begin(), by_rank.end(),
                  [&](const Signature& s) { return s == by_rank[0]; })) {
    return {};
  }
  // What most ranks called, then the others by rank.
  std::vector<std::pair<Signature, std::vector<std::size_t>>> calls;
  for (std::size_t r = 0; r < by_rank.size(); ++r) {
    auto same = std::find_if(calls.begin(), calls.end(),
                             [&](const auto& call) { return call.first == by_rank[r]; });
    if (same == calls.end()) same = calls.insert(calls.end(), {by_rank[r], {}});
    same->second.push_back(r);
  }
  const auto most = std::max_element(calls.begin(), calls.end(), [](const auto& a, const auto& b) {
    return a.second.size() < b.second.size();
  });
  std::string text = "the ranks disagree on call " + std::to_string(seq) + " of their group: ";
  for (auto call = calls.begin(); call != calls.end(); ++call) {
    if (call == most) continue;
    text += Ranks(call->second) + ": " + Describe(call->first) + ", ";
  }
  text += (most->second.size() == 1 ? Ranks(most->second) : "all others") + ": " +
          Describe(most->first);
  return Status(Code::kInvalid, text);
}

}  // namespace muster
