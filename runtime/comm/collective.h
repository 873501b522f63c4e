// One collective call as a value: what c10d's verbs mean, what is wrong with a call, and what must
// agree on all ranks.
//
// Counts are elements, not bytes.  n is the number of ranks of the group:
//   verb            in            out           in place, the same memory
//   all_reduce      c             c             in == out
//   reduce          c             c at root     in == out
//   reduce_scatter  n*c           c             out == rank's part of in
//   all_gather      c             n*c           in == rank's part of out
//   gather          c             n*c at root   in == rank's part of out
//   scatter         n*c at root   c             out == rank's part of in
//   all_to_all      n*c           n*c           no
//   broadcast       one buffer of c, that of the root is read
// What is needed at the root only is ignored elsewhere.  Zero counts are fine.
//
// Reductions run from left to right in the order of the ranks, f16 and bf16 in f32 and rounded once
// to nearest even at the end; avg is the sum divided once.  Integers wrap round.  min and max of
// floats are NaN where an input is.
//
// Everything here is pure; any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "runtime/base/result.h"

namespace muster {

enum class DType : std::uint8_t { kF32, kF64, kF16, kBF16, kI32, kI64, kU8 };
inline constexpr DType kDTypes[] = {DType::kF32, DType::kF64, DType::kF16, DType::kBF16,
                                    DType::kI32, DType::kI64, DType::kU8};
std::size_t SizeOf(DType dtype);  // Bytes of one element.
const char* NameOf(DType dtype);  // "f32".
bool IsFloat(DType dtype);

enum class ReduceOp : std::uint8_t { kSum, kAvg, kMin, kMax, kProd };
inline constexpr ReduceOp kReduceOps[] = {ReduceOp::kSum, ReduceOp::kAvg, ReduceOp::kMin,
                                          ReduceOp::kMax, ReduceOp::kProd};
const char* NameOf(ReduceOp op);  // "sum".

// The two that C++20 has no type for.
struct F16 {
  std::uint16_t bits = 0;  // IEEE 754 binary16.
  bool operator==(const F16&) const = default;
};
struct BF16 {
  std::uint16_t bits = 0;  // The upper half of an f32.
  bool operator==(const BF16&) const = default;
};

template <typename T>
constexpr DType DTypeOf() {
  using U = std::remove_cv_t<T>;
  if constexpr (std::is_same_v<U, float>) return DType::kF32;
  if constexpr (std::is_same_v<U, double>) return DType::kF64;
  if constexpr (std::is_same_v<U, F16>) return DType::kF16;
  if constexpr (std::is_same_v<U, BF16>) return DType::kBF16;
  if constexpr (std::is_same_v<U, std::int32_t>) return DType::kI32;
  if constexpr (std::is_same_v<U, std::int64_t>) return DType::kI64;
  static_assert(std::is_same_v<U, float> || std::is_same_v<U, double> || std::is_same_v<U, F16> ||
                    std::is_same_v<U, BF16> || std::is_same_v<U, std::int32_t> ||
                    std::is_same_v<U, std::int64_t> || sizeof(U) == 1,
                "collectives move f32, f64, f16, bf16, i32, i64 and bytes");
  return DType::kU8;
}

// Elements in memory of the caller, who keeps them alive until the call has ended.
struct Buffer {
  void* data = nullptr;
  std::size_t count = 0;
  DType dtype = DType::kU8;

  Buffer() = default;
  Buffer(void* memory, std::size_t elements, DType type)
      : data(memory), count(elements), dtype(type) {}
  template <typename T, std::size_t kExtent>
  Buffer(std::span<T, kExtent> values)  // NOLINT: `all_reduce(std::span(v), op)` must read well.
      : Buffer(values.data(), values.size(), DTypeOf<T>()) {}
  template <typename T>
  Buffer(std::vector<T>& values) : Buffer(std::span(values)) {}  // NOLINT: and `all_reduce(v, op)`.

  std::size_t bytes() const { return count * SizeOf(dtype); }
  std::byte* at(std::size_t element) const {
    return static_cast<std::byte*>(data) + element * SizeOf(dtype);
  }
};

struct ConstBuffer {
  const void* data = nullptr;
  std::size_t count = 0;
  DType dtype = DType::kU8;

  ConstBuffer() = default;
  ConstBuffer(const void* memory, std::size_t elements, DType type)
      : data(memory), count(elements), dtype(type) {}
  ConstBuffer(const Buffer& b) : ConstBuffer(b.data, b.count, b.dtype) {}  // NOLINT: as above.
  template <typename T, std::size_t kExtent>
  ConstBuffer(std::span<T, kExtent> values)  // NOLINT: as above.
      : ConstBuffer(values.data(), values.size(), DTypeOf<T>()) {}
  template <typename T>
  ConstBuffer(const std::vector<T>& values)  // NOLINT: as above.
      : ConstBuffer(std::span(values)) {}

  std::size_t bytes() const { return count * SizeOf(dtype); }
  const std::byte* at(std::size_t element) const {
    return static_cast<const std::byte*>(data) + element * SizeOf(dtype);
  }
};

struct Collective {
  enum class Kind : std::uint8_t {
    kAllReduce,
    kReduceScatter,
    kAllGather,
    kBroadcast,
    kReduce,
    kAllToAll,
    kGather,
    kScatter,
    kBarrier,
    kSplit,  // An all_gather of what ProcessGroup::split was asked for.
    kSend,
    kRecv
  };

  Kind kind = Kind::kBarrier;
  ReduceOp op = ReduceOp::kSum;
  int root = 0;  // Of a send or recv: the other rank.
  int tag = 0;   // Of a send or recv, from 0.
  // Of a send or recv, for backends where it helps; the same on both sides, which know that they
  // mean the same number of bytes.
  bool in_pieces = false;
  ConstBuffer in;
  Buffer out;

  static Collective AllReduce(ConstBuffer in, Buffer out, ReduceOp op);
  static Collective AllReduce(Buffer buffer, ReduceOp op) { return AllReduce(buffer, buffer, op); }
  static Collective ReduceScatter(ConstBuffer in, Buffer out, ReduceOp op);
  static Collective AllGather(ConstBuffer in, Buffer out);
  static Collective Broadcast(Buffer buffer, int root);
  static Collective Reduce(ConstBuffer in, Buffer out, ReduceOp op, int root);
  static Collective AllToAll(ConstBuffer in, Buffer out);
  static Collective Gather(ConstBuffer in, Buffer out, int root);
  static Collective Scatter(ConstBuffer in, Buffer out, int root);
  static Collective Barrier() { return {}; }
  static Collective Send(ConstBuffer in, int to, int tag);
  static Collective Recv(Buffer out, int from, int tag);

  bool IsTransfer() const { return kind == Kind::kSend || kind == Kind::kRecv; }
};

const char* NameOf(Collective::Kind kind);  // "all_reduce".

// kInvalid: what is wrong with the arguments of this rank's call, what is allowed, what to do.
Status Check(const Collective& call, int rank, int world_size);

// What must be equal on all ranks.  A plain value: it crosses shared memory and MPI as bytes.
struct Signature {
  Collective::Kind kind = Collective::Kind::kBarrier;
  DType dtype = DType::kU8;
  ReduceOp op = ReduceOp::kSum;
  std::uint8_t unused = 0;
  std::int32_t root = -1;   // -1: the verb has none.
  std::uint64_t count = 0;  // c of the table above.
  bool operator==(const Signature&) const = default;
};
static_assert(std::is_trivially_copyable_v<Signature> && sizeof(Signature) == 16);

Signature SignatureOf(const Collective& call);
std::uint64_t Hash(const Signature& signature);
std::string Describe(const Signature& signature);  // "all_reduce f32[1024] sum".

// kInvalid when they are not all equal: "rank 2: all_reduce f32[1024] sum, all others: broadcast
// f32[1024] from 0".  `seq`: the number of the call in its group.
Status CheckAgreement(std::span<const Signature> by_rank, std::uint64_t seq);

}  // namespace muster
