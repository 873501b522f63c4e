#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/unit/comm/conformance.h"

namespace muster::testing {
namespace {

// What one rank brings for one element: sums of these depend on their order.
double Brought(DType dtype, int rank, std::size_t element) {
  std::uint64_t x = element * 0x9E3779B97F4A7C15ULL + static_cast<std::uint64_t>(rank) * 977 + 5;
  x = (x ^ (x >> 29U)) * 0xBF58476D1CE4E5B9ULL;
  const auto small = static_cast<double>(x >> 55U);  // 0..511
  if (!IsFloat(dtype)) return std::floor(small / 2) + (element % 7 == 0 ? 0 : 1);
  return (small - 255) / 173 * std::ldexp(1.0, static_cast<int>(x % 7) - 3);
}

std::vector<std::byte> InputOf(DType dtype, int rank, std::size_t count) {
  std::vector<std::byte> bytes(count * SizeOf(dtype));
  const auto put = [&](std::size_t i, auto value) {
    std::memcpy(bytes.data() + i * sizeof value, &value, sizeof value);
  };
  for (std::size_t i = 0; i < count; ++i) {
    const double value = Brought(dtype, rank, i);
    switch (dtype) {
      case DType::kF32:
        put(i, static_cast<float>(value));
        break;
      case DType::kF64:
        put(i, value);
        break;
      case DType::kI32:
        put(i, static_cast<std::int32_t>(value) - 100);
        break;
      case DType::kI64:
        put(i, static_cast<std::int64_t>(value) * 1'000'000'007);
        break;
      case DType::kU8:
        put(i, static_cast<std::uint8_t>(value));
        break;
      default:
        put(i, Rounded(dtype, value));
    }
  }
  return bytes;
}

template <typename T>
T Combined(ReduceOp op, T a, T b) {
  if (op == ReduceOp::kMin) return std::min(a, b);
  if (op == ReduceOp::kMax) return std::max(a, b);
  if constexpr (std::is_integral_v<T>) {
    const auto x = static_cast<std::uint64_t>(a);
    const auto y = static_cast<std::uint64_t>(b);
    return static_cast<T>(op == ReduceOp::kProd ? x * y : x + y);
  } else {
    return op == ReduceOp::kProd ? a * b : a + b;
  }
}

// In the order of the ranks of each node, then of the nodes.
template <typename T, typename Read>
T Folded(ReduceOp op, const std::vector<std::vector<int>>& nodes, Read read) {
  T all{};
  for (std::size_t n = 0; n < nodes.size(); ++n) {
    T part = read(nodes[n][0]);
    for (std::size_t i = 1; i < nodes[n].size(); ++i) {
      part = Combined(op, part, read(nodes[n][i]));
    }
    all = n == 0 ? part : Combined(op, all, part);
  }
  return all;
}

// The definition, element by element.
class Expected {
 public:
  Expected(DType dtype, ReduceOp op, int ranks, std::size_t count,
           std::vector<std::vector<int>> nodes)
      : dtype_(dtype), op_(op), ranks_(ranks), nodes_(std::move(nodes)) {
    for (int r = 0; r < ranks; ++r) inputs_.push_back(InputOf(dtype, r, count));
    bytes_.resize(count * SizeOf(dtype));
    for (std::size_t i = 0; i < count; ++i) Fill(i);
  }
  const std::vector<std::byte>& bytes() const { return bytes_; }
  const std::vector<std::byte>& input(int rank) const {
    return inputs_[static_cast<std::size_t>(rank)];
  }

 private:
  void Fill(std::size_t i) {
    switch (dtype_) {
      case DType::kF32:
        return Put(i, Averaged(Fold<float>(i)));
      case DType::kF64:
        return Put(i, Averaged(Fold<double>(i)));
      case DType::kI32:
        return Put(i, Fold<std::int32_t>(i));
      case DType::kI64:
        return Put(i, Fold<std::int64_t>(i));
      case DType::kU8:
        return Put(i, Fold<std::uint8_t>(i));
      default: {
        const float sum = Folded<float>(op_, nodes_, [&](int r) {
          return static_cast<float>(ValueOf(dtype_, Get<std::uint16_t>(r, i)));
        });
        return Put(i, Rounded(dtype_, Averaged(sum)));
      }
    }
  }
  template <typename T>
  T Fold(std::size_t i) const {
    return Folded<T>(op_, nodes_, [&](int r) { return Get<T>(r, i); });
  }
  template <typename T>
  T Averaged(T sum) const {
    return op_ == ReduceOp::kAvg ? sum / static_cast<T>(ranks_) : sum;
  }
  template <typename T>
  T Get(int rank, std::size_t i) const {
    T value;
    std::memcpy(&value, input(rank).data() + i * sizeof(T), sizeof(T));
    return value;
  }
  template <typename T>
  void Put(std::size_t i, T value) {
    std::memcpy(bytes_.data() + i * sizeof value, &value, sizeof value);
  }

  const DType dtype_;
  const ReduceOp op_;
  const int ranks_;
  const std::vector<std::vector<int>> nodes_;
  std::vector<std::vector<std::byte>> inputs_;
  std::vector<std::byte> bytes_;
};

std::vector<std::vector<int>> NodesOf(const std::vector<int>& nodes, int ranks) {
  std::vector<std::vector<int>> by_node;
  for (int r = 0; r < ranks; ++r) {
    const auto node =
        nodes.empty() ? 0 : static_cast<std::size_t>(nodes[static_cast<std::size_t>(r)]);
    if (by_node.size() <= node) by_node.resize(node + 1);
    by_node[node].push_back(r);
  }
  return by_node;
}

struct Case {
  DType dtype;
  ReduceOp op;
  std::size_t count;
  bool own_order = false;
};

double NumberAt(DType dtype, const std::byte* at) {
  const auto get = [at](auto value) {
    std::memcpy(&value, at, sizeof value);
    return value;
  };
  if (dtype == DType::kF32) return static_cast<double>(get(float{}));
  if (dtype == DType::kF64) return get(double{});
  return ValueOf(dtype, get(std::uint16_t{}));
}

// How far two orders of a few terms of this test may lie apart.
bool Near(DType dtype, double a, double b) {
  const int bits = dtype == DType::kF64   ? 52
                   : dtype == DType::kF32 ? 23
                   : dtype == DType::kF16 ? 10
                                          : 7;
  return std::fabs(a - b) <= std::ldexp(32 * (std::fabs(a) + 64), -bits);
}

bool Same(const Case& c, const std::vector<std::byte>& a, const std::byte* b) {
  if (a.empty() || std::memcmp(a.data(), b, a.size()) == 0) return true;
  const bool exact = c.op == ReduceOp::kMin || c.op == ReduceOp::kMax || !IsFloat(c.dtype);
  if (!c.own_order || exact) return false;
  for (std::size_t at = 0; at < a.size(); at += SizeOf(c.dtype)) {
    if (!Near(c.dtype, NumberAt(c.dtype, &a[at]), NumberAt(c.dtype, b + at))) return false;
  }
  return true;
}

void CheckAllReduce(ProcessGroup& group, const GroupShape& shape, const Case& c,
                    const std::string& name, Complaints& complaints) {
  const Expected all(c.dtype, c.op, group.world_size(), c.count,
                     NodesOf(shape.nodes, group.world_size()));
  auto in_place = all.input(group.rank());
  ExpectOk(group.all_reduce(Buffer(in_place.data(), c.count, c.dtype), c.op), name, complaints);
  Expect(Same(c, all.bytes(), in_place.data()), name + " in place", complaints);
  const auto& brought = all.input(group.rank());
  const std::vector<std::byte> in(brought.begin(), brought.end());
  std::vector<std::byte> out(in.size() + 1, std::byte{0x5A});
  ExpectOk(group.all_reduce({in.data(), c.count, c.dtype}, {out.data(), c.count, c.dtype}, c.op),
           name, complaints);
  Expect(Same(c, all.bytes(), out.data()), name, complaints);
  Expect(in == brought, name + " leaves its input", complaints);
  Expect(out.back() == std::byte{0x5A}, name + " stays in its output", complaints);
}

void CheckReduce(ProcessGroup& group, const Case& c, const std::string& name,
                 Complaints& complaints) {
  const int root = group.world_size() - 1;
  const Expected all(c.dtype, c.op, group.world_size(), c.count, NodesOf({}, group.world_size()));
  auto in = all.input(group.rank());
  const bool wanted = group.rank() == root;
  const Buffer out = wanted ? Buffer(in.data(), c.count, c.dtype) : Buffer();
  ExpectOk(group.reduce({in.data(), c.count, c.dtype}, out, c.op, root), name, complaints);
  Expect(wanted ? Same(c, all.bytes(), in.data()) : in == all.input(group.rank()), name,
         complaints);
}

// Part r of everybody's is for rank r.
void CheckReduceScatter(ProcessGroup& group, const Case& c, const std::string& name,
                        Complaints& complaints) {
  const auto n = static_cast<std::size_t>(group.world_size());
  const auto me = static_cast<std::size_t>(group.rank());
  const std::size_t part = c.count * SizeOf(c.dtype);
  const Expected all(c.dtype, c.op, group.world_size(), c.count * n,
                     NodesOf({}, group.world_size()));
  const std::vector<std::byte> mine(all.bytes().data() + me * part,
                                    all.bytes().data() + (me + 1) * part);
  auto in = all.input(group.rank());
  std::vector<std::byte> out(part + 1, std::byte{0x5A});
  ExpectOk(
      group.reduce_scatter({in.data(), c.count * n, c.dtype}, {out.data(), c.count, c.dtype}, c.op),
      name, complaints);
  Expect(Same(c, mine, out.data()) && out.back() == std::byte{0x5A}, name, complaints);
  ExpectOk(group.reduce_scatter({in.data(), c.count * n, c.dtype},
                                {in.data() + me * part, c.count, c.dtype}, c.op),
           name, complaints);
  Expect(Same(c, mine, in.data() + me * part), name + " in place", complaints);
}

}  // namespace

double ValueOf(DType dtype, std::uint16_t bits) {
  const double sign = (bits & 0x8000U) != 0 ? -1 : 1;
  const int mantissa_bits = dtype == DType::kF16 ? 10 : 7;
  const int exponent_most = dtype == DType::kF16 ? 31 : 255;
  const int bias = dtype == DType::kF16 ? 15 : 127;
  const int exponent = static_cast<int>((bits & 0x7FFFU) >> mantissa_bits);
  const double mantissa = bits & ((1U << mantissa_bits) - 1);
  if (exponent == exponent_most) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity()
                         : std::numeric_limits<double>::quiet_NaN();
  }
  const double one = exponent == 0 ? 0 : std::ldexp(1.0, mantissa_bits);
  return sign * std::ldexp(mantissa + one, std::max(exponent, 1) - bias - mantissa_bits);
}

std::uint16_t Rounded(DType dtype, double value) {
  const int mantissa_bits = dtype == DType::kF16 ? 10 : 7;
  const int exponent_most = dtype == DType::kF16 ? 31 : 255;
  const int bias = dtype == DType::kF16 ? 15 : 127;
  const std::uint32_t sign = std::signbit(value) ? 0x8000U : 0;
  const auto infinity = static_cast<std::uint32_t>(exponent_most) << mantissa_bits;
  if (std::isnan(value)) {
    return static_cast<std::uint16_t>(sign | infinity | 1U << (mantissa_bits - 1));
  }
  const double size = std::fabs(value);
  if (std::isinf(size)) return static_cast<std::uint16_t>(sign | infinity);
  int exponent = 0;
  std::frexp(size, &exponent);
  exponent = std::max(exponent - 1, 1 - bias);
  // nearbyint rounds to nearest, ties to even.
  const auto units =
      static_cast<std::uint32_t>(std::nearbyint(std::ldexp(size, mantissa_bits - exponent)));
  const std::uint32_t normal = units >> mantissa_bits;  // 0: subnormal, 2: rounded up.
  const std::uint32_t bits =
      units + (static_cast<std::uint32_t>(exponent + bias - 1) << mantissa_bits);
  return static_cast<std::uint16_t>(sign | (normal == 0 ? units : std::min(bits, infinity)));
}

void CheckReductions(ProcessGroup& group, const GroupShape& shape, Complaints& complaints) {
  std::vector<Case> cases;
  for (const DType dtype : kDTypes) {
    for (const ReduceOp op : kReduceOps) {
      if (op == ReduceOp::kAvg && !IsFloat(dtype)) continue;
      for (const std::size_t count : {0U, 1U, 13U, 1031U})
        cases.push_back({.dtype = dtype, .op = op, .count = count});
    }
  }
  // Longer than a block; longer than several, and no multiple of anything.
  cases.push_back({.dtype = DType::kF32, .op = ReduceOp::kSum, .count = 70'001});
  cases.push_back({.dtype = DType::kF32, .op = ReduceOp::kAvg, .count = 200'009});
  cases.push_back({.dtype = DType::kBF16, .op = ReduceOp::kSum, .count = 140'001});
  cases.push_back({.dtype = DType::kF16, .op = ReduceOp::kAvg, .count = 9'001});
  for (Case& c : cases) {
    c.own_order = shape.own_order;
    const std::string what = std::string(NameOf(c.dtype)) + "[" + std::to_string(c.count) + "] " +
                             NameOf(c.op) + " gives the sum in the order of the ranks";
    CheckAllReduce(group, shape, c, "all_reduce " + what, complaints);
    CheckReduce(group, c, "reduce " + what, complaints);
    if (c.count > 100'000) continue;
    CheckReduceScatter(group, c, "reduce_scatter " + what, complaints);
  }
}

}  // namespace muster::testing
