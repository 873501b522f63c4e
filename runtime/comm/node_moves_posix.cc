#include <algorithm>
#include <cstring>

#include "runtime/comm/node_exchange_posix.h"

namespace muster {
namespace {

constexpr std::size_t kLine = 64;

void CopyBytes(void* to, const void* from, std::size_t n) {
  if (n == 0 || to == from) return;
  kernels::CopyShared(static_cast<std::byte*>(to), static_cast<const std::byte*>(from), n);
}

// Elements [begin, begin + size) of a buffer, as block `block` of those with `each` elements.
struct Block {
  Block(std::size_t block, std::size_t each, std::size_t all)
      : begin(block * each), size(std::min(each, all - std::min(all, block * each))) {}
  std::size_t begin, size;
};

std::size_t BlocksOf(std::size_t elements, std::size_t each) {
  return std::max<std::size_t>(1, (elements + each - 1) / each);
}

}  // namespace

// ---- Copies -------------------------------------------------------------------------------------

// A block is overwritten two blocks later: by then all ranks have come to a barrier behind it.
template <typename In, typename Out>
Status NodeExchange::Copy(const Call& call, std::size_t blocks, In in, Out out) {
  for (std::size_t step = 0; step <= blocks; ++step) {
    if (step < blocks) in(step, (next_block_ + step) % 2);
    if (step > 0) out(step - 1, (next_block_ + step - 1) % 2);
    if (step == 0) {
      RETURN_IF_ERROR(Enter(call));
    } else if (step < blocks) {
      RETURN_IF_ERROR(Sync(call));
    }
  }
  next_block_ += blocks;
  return {};
}

Status NodeExchange::Gather(const Call& call, bool wanted) {
  const ConstBuffer in = call.collective.in;
  const Buffer out = call.collective.out;
  const std::size_t each = block_bytes_ / SizeOf(in.dtype);
  return Copy(
      call, BlocksOf(in.count, each),
      [&](std::size_t number, std::size_t parity) {
        const Block block(number, each, in.count);
        CopyBytes(Staged(parity, rank_), in.at(block.begin), block.size * SizeOf(in.dtype));
      },
      [&](std::size_t number, std::size_t parity) {
        const Block block(number, each, in.count);
        for (std::size_t r = 0; wanted && r < ranks_; ++r) {
          const std::byte* from = r == rank_ ? in.at(block.begin) : Staged(parity, r);
          CopyBytes(out.at(r * in.count + block.begin), from, block.size * SizeOf(in.dtype));
        }
      });
}

Status NodeExchange::Broadcast(const Call& call) {
  const Buffer& buffer = call.collective.out;
  const auto root = static_cast<std::size_t>(call.collective.root);
  const std::size_t each = block_bytes_ / SizeOf(buffer.dtype);
  return Copy(
      call, BlocksOf(buffer.count, each),
      [&](std::size_t number, std::size_t parity) {
        const Block block(number, each, buffer.count);
        if (rank_ != root) return;
        CopyBytes(Staged(parity, root), buffer.at(block.begin), block.size * SizeOf(buffer.dtype));
      },
      [&](std::size_t number, std::size_t parity) {
        const Block block(number, each, buffer.count);
        if (rank_ == root) return;
        CopyBytes(buffer.at(block.begin), Staged(parity, root), block.size * SizeOf(buffer.dtype));
      });
}

Status NodeExchange::AllToAll(const Call& call) {
  const ConstBuffer in = call.collective.in;
  const Buffer out = call.collective.out;
  const std::size_t size = SizeOf(in.dtype);
  const std::size_t count = in.count / ranks_;
  const std::size_t each = block_bytes_ / ranks_ / kLine * kLine / size;
  return Copy(
      call, BlocksOf(count, each),
      [&](std::size_t number, std::size_t parity) {
        const Block block(number, each, count);
        for (std::size_t to = 0; to < ranks_; ++to) {
          if (to == rank_) continue;
          CopyBytes(Staged(parity, rank_) + to * each * size, in.at(to * count + block.begin),
                    block.size * size);
        }
      },
      [&](std::size_t number, std::size_t parity) {
        const Block block(number, each, count);
        for (std::size_t from = 0; from < ranks_; ++from) {
          const std::byte* part = from == rank_ ? in.at(rank_ * count + block.begin)
                                                : Staged(parity, from) + rank_ * each * size;
          CopyBytes(out.at(from * count + block.begin), part, block.size * size);
        }
      });
}

Status NodeExchange::Scatter(const Call& call) {
  const ConstBuffer in = call.collective.in;
  const Buffer out = call.collective.out;
  const auto root = static_cast<std::size_t>(call.collective.root);
  const std::size_t size = SizeOf(out.dtype);
  const std::size_t each = block_bytes_ / ranks_ / kLine * kLine / size;
  return Copy(
      call, BlocksOf(out.count, each),
      [&](std::size_t number, std::size_t parity) {
        const Block block(number, each, out.count);
        for (std::size_t to = 0; rank_ == root && to < ranks_; ++to) {
          std::byte* at =
              to == root ? out.at(block.begin) : Staged(parity, root) + to * each * size;
          CopyBytes(at, in.at(to * out.count + block.begin), block.size * size);
        }
      },
      [&](std::size_t number, std::size_t parity) {
        const Block block(number, each, out.count);
        if (rank_ == root) return;
        CopyBytes(out.at(block.begin), Staged(parity, root) + rank_ * each * size,
                  block.size * size);
      });
}

// ---- Reductions ---------------------------------------------------------------------------------

Status NodeExchange::AllReduceShort(const Call& call) {
  const Collective& c = call.collective;
  const Reduction how{.dtype = c.in.dtype, .op = c.op, .ranks = ranks_};
  return Copy(
      call, 1,
      [&](std::size_t, std::size_t parity) {
        CopyBytes(Staged(parity, rank_), c.in.data, c.in.bytes());
      },
      [&](std::size_t, std::size_t parity) {
        for (std::size_t r = 0; r < ranks_; ++r) inputs_[r] = Staged(parity, r);
        how.Run(inputs_, c.out.data, c.in.count);
      });
}

Status NodeExchange::ReduceScatter(const Call& call) {
  const Collective& c = call.collective;
  const Reduction how{.dtype = c.in.dtype, .op = c.op, .ranks = ranks_};
  const std::size_t size = SizeOf(c.in.dtype);
  const std::size_t count = c.out.count;
  const std::size_t each = block_bytes_ / ranks_ / kLine * kLine / size;
  return Copy(
      call, BlocksOf(count, each),
      [&](std::size_t number, std::size_t parity) {
        const Block block(number, each, count);
        for (std::size_t to = 0; to < ranks_; ++to) {
          if (to == rank_) continue;
          CopyBytes(Staged(parity, rank_) + to * each * size, c.in.at(to * count + block.begin),
                    block.size * size);
        }
      },
      [&](std::size_t number, std::size_t parity) {
        const Block block(number, each, count);
        for (std::size_t r = 0; r < ranks_; ++r) {
          inputs_[r] = r == rank_ ? c.in.at(rank_ * count + block.begin)
                                  : Staged(parity, r) + rank_ * each * size;
        }
        how.Run(inputs_, c.out.at(block.begin), block.size);
      });
}

// The steps of one block of all_reduce or reduce: copy in, reduce this rank's slice, (carry it over
// the bridge,) copy out.
class NodeExchange::Reducing {
 public:
  Reducing(NodeExchange& node, const Call& call, bool wanted)
      : node_(node),
        call_(call),
        c_(call.collective),
        size_(SizeOf(c_.in.dtype)),
        lanes_(node.bridge_ == nullptr ? node.ranks_ : node.bridge_->lanes()),
        wanted_(wanted),
        how_{.dtype = c_.in.dtype, .op = c_.op, .ranks = node.ranks_},
        each_(node_.block_bytes_ / size_) {}

  void set_ranks(std::size_t ranks) { how_.ranks = ranks; }
  std::size_t blocks() const { return BlocksOf(c_.in.count, each_); }

  // All but the slice that this rank itself reduces: it reads that where it is.
  void CopyIn(std::size_t number) {
    const Block block(number, each_, c_.in.count);
    const Block mine = SliceOf(block);
    std::byte* to = node_.Staged(Parity(number), node_.rank_);
    CopyBytes(to, c_.in.at(block.begin), mine.begin * size_);
    const std::size_t after = mine.begin + mine.size;
    CopyBytes(to + after * size_, c_.in.at(block.begin + after), (block.size - after) * size_);
  }

  Status Reduce(std::size_t number) {
    const Block block(number, each_, c_.in.count);
    const Block mine = SliceOf(block);
    if (node_.bridge_ == nullptr) {
      ReduceHere(number, block, mine);
      return {};
    }
    if (node_.rank_ >= lanes_) return {};
    SetInputs(number, block, mine.begin);
    how_.Begin(node_.inputs_, UnderWay(number), mine.size);
    return node_.bridge_->Depart(how_, Slot(number), UnderWay(number), mine.size);
  }

  Status Arrive(std::size_t number) {
    if (node_.rank_ >= lanes_) return {};
    RETURN_IF_ERROR(node_.bridge_->Arrive(Slot(number), call_));
    const Block mine = SliceOf(Block(number, each_, c_.in.count));
    const void* const sum = UnderWay(number);
    how_.Finish({&sum, 1}, Result(number, mine), mine.size);
    return {};
  }

  void CopyOut(std::size_t number) {
    const Block block(number, each_, c_.in.count);
    const std::byte* from = node_.Reduced(Parity(number));
    const Block mine = OwnOf(block);
    CopyBytes(c_.out.at(block.begin), from, mine.begin * size_);
    const std::size_t after = mine.begin + mine.size;
    CopyBytes(c_.out.at(block.begin + after), from + after * size_, (block.size - after) * size_);
  }

 private:
  // What each rank brings, from this element of the block on.
  void SetInputs(std::size_t number, const Block& block, std::size_t begin) {
    for (std::size_t r = 0; r < node_.ranks_; ++r) {
      node_.inputs_[r] = r == node_.rank_ ? c_.in.at(block.begin + begin)
                                          : node_.Staged(Parity(number), r) + begin * size_;
    }
  }

  // For the others, and for this rank while it is in the first cache.
  void ReduceHere(std::size_t number, const Block& block, const Block& mine) {
    constexpr std::size_t kWarm = 16384;
    for (std::size_t at = 0; at < mine.size; at += kWarm) {
      const std::size_t n = std::min(kWarm, mine.size - at);
      std::byte* const to = Result(number, mine) + at * size_;
      SetInputs(number, block, mine.begin + at);
      how_.Run(node_.inputs_, to, n);
      if (wanted_) CopyBytes(c_.out.at(block.begin + mine.begin + at), to, n * size_);
    }
  }

  // What ReduceHere has brought out.
  Block OwnOf(const Block& block) const {
    return node_.bridge_ == nullptr ? SliceOf(block) : Block(0, 0, 0);
  }

  std::size_t Parity(std::size_t number) const { return (node_.next_block_ + number) % 2; }

  // Within the block; whole cache lines but for the last.
  Block SliceOf(const Block& block) const {
    Block slice(0, 0, 0);
    if (node_.rank_ >= lanes_) return slice;
    const std::size_t line = kLine / size_;
    const std::size_t lines = (block.size + line - 1) / line;
    slice.begin = std::min(block.size, lines * node_.rank_ / lanes_ * line);
    slice.size = std::min(block.size, lines * (node_.rank_ + 1) / lanes_ * line) - slice.begin;
    return slice;
  }

  std::byte* Result(std::size_t number, const Block& slice) const {
    return node_.Reduced(Parity(number)) + slice.begin * size_;
  }
  std::size_t Slot(std::size_t number) const { return number % node_.bridge_->depth(); }
  std::byte* UnderWay(std::size_t number) const {
    return node_.under_way_.data() + Slot(number) * 2 * node_.block_bytes_;
  }

  NodeExchange& node_;
  const Call& call_;
  const Collective& c_;
  const std::size_t size_;
  const std::size_t lanes_;
  const bool wanted_;  // This rank gets the result.
  Reduction how_;
  const std::size_t each_;
};

// Step s: copy in block s, reduce block s - 1, take block s - 1 - lag from the bridge, copy out
// block s - 2 - lag; a barrier after each but the last.
Status NodeExchange::Reduce(const Call& call, bool wanted) {
  Reducing reducing(*this, call, wanted);
  const std::size_t blocks = reducing.blocks();
  std::size_t lag = 0;
  if (bridge_ != nullptr) {
    lag = std::min(bridge_->depth(), blocks) - 1;
    reducing.set_ranks(static_cast<std::size_t>(bridge_->world_size()));
  }
  for (std::size_t step = 0; step <= blocks + 1 + lag; ++step) {
    if (step < blocks) reducing.CopyIn(step);
    if (step >= 1 && step - 1 < blocks) RETURN_IF_ERROR(reducing.Reduce(step - 1));
    if (bridge_ != nullptr && step >= 1 + lag && step - 1 - lag < blocks) {
      RETURN_IF_ERROR(reducing.Arrive(step - 1 - lag));
    }
    if (wanted && step >= 2 + lag) reducing.CopyOut(step - 2 - lag);
    if (step == 0) {
      RETURN_IF_ERROR(Enter(call));
    } else if (step <= blocks + lag) {
      RETURN_IF_ERROR(Sync(call));
    }
  }
  next_block_ += blocks;
  return {};
}

}  // namespace muster
