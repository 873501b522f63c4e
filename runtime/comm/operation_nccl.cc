#include "runtime/comm/operation_nccl.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace muster {
namespace {

using Kind = Collective::Kind;

NcclRedOp NcclOpOf(ReduceOp op) {
  constexpr NcclRedOp kOps[] = {kNcclSum, kNcclAvg, kNcclMin, kNcclMax, kNcclProd};
  return kOps[static_cast<std::size_t>(op)];
}

bool Reduces(Kind kind) {
  return kind == Kind::kAllReduce || kind == Kind::kReduce || kind == Kind::kReduceScatter;
}

}  // namespace

NcclDataType NcclTypeOf(DType dtype) {
  constexpr NcclDataType kTypes[] = {kNcclF32, kNcclF64, kNcclF16, kNcclBF16,
                                     kNcclI32, kNcclI64, kNcclU8};
  return kTypes[static_cast<std::size_t>(dtype)];
}

Operation::~Operation() {
  if (leak_) return;
  for (const Scratch::Block& block : blocks_) scratch_->Give(block);
  for (CudaEvent event : events_) scratch_->GiveEvent(event);
}

Result<std::byte*> Operation::Take(Scratch::Place place, std::size_t bytes) {
  auto block = scratch_->Take(place, bytes);
  if (!block.ok()) return std::move(block).status();
  blocks_.push_back(*block);
  return block->memory;
}

Result<CudaEvent> Operation::TakeEvent() {
  auto event = scratch_->TakeEvent();
  if (event.ok()) events_.push_back(*event);
  return event;
}

void Operation::AddNccl(const std::string& doing, NcclCalls calls) {
  steps.push_back({.run = [this, doing, calls = std::move(calls)](const Lane& lane) {
    const NcclApi& api = parts_.nccl->api();
    return lane.communicator->Enqueue(doing, [&](NcclComm comm) {
      NcclResult result = api.group_start();
      if (result != kNcclSuccess) return result;
      result = calls(api, comm, lane.stream);
      const NcclResult ended = api.group_end();
      return result == kNcclSuccess ? ended : result;
    });
  }});
}

void Operation::AddCopy(void* to, const void* from, std::size_t bytes) {
  if (bytes == 0 || to == from) return;
  steps.push_back({.run = [this, to, from, bytes](const Lane& lane) {
    return parts_.cuda->StatusOf("a copy", parts_.cuda->api().memcpy_async(
                                               to, from, bytes, kCudaMemcpyDefault, lane.stream));
  }});
}

Status Operation::FollowUser() {
  if (parts_.options.after_stream == nullptr) return {};
  auto event = TakeEvent();
  if (!event.ok()) return std::move(event).status();
  const CudaApi& api = parts_.cuda->api();
  RETURN_IF_ERROR(parts_.cuda->StatusOf("following the program's stream",
                                        api.event_record(*event, parts_.options.after_stream)));
  steps.push_back({.run = [this, event = *event](const Lane& lane) {
    return parts_.cuda->StatusOf("following the program's stream",
                                 parts_.cuda->api().stream_wait_event(lane.stream, event, 0));
  }});
  return {};
}

// ---- What a collective is made of ---------------------------------------------------------------

Status Operation::PlanCollective(int rank, int ranks) {
  const Collective& c = call.collective;
  ranks_ = ranks;
  const auto all = static_cast<std::size_t>(ranks);
  const bool barrier = c.kind == Kind::kBarrier;
  if (ranks > 1 && (parts_.options.check_calls || barrier)) {
    auto host = Take(Scratch::Place::kPinned, (all + 1) * sizeof(Signature));
    if (!host.ok()) return std::move(host).status();
    auto device = Take(Scratch::Place::kDevice, (all + 1) * sizeof(Signature));
    if (!device.ok()) return std::move(device).status();
    auto event = TakeEvent();
    if (!event.ok()) return std::move(event).status();
    checked_ = *event;
    PlanCheck(rank, ranks, *host, *device);
  }
  if (barrier || SignatureOf(c).count == 0) {
    AddThen();
    return {};
  }
  const bool at_root = c.root == rank;
  const bool reads = c.kind == Kind::kScatter || c.kind == Kind::kBroadcast ? at_root : true;
  const bool writes = c.kind == Kind::kReduce || c.kind == Kind::kGather ? at_root : true;
  RETURN_IF_ERROR(Stage(reads, writes));
  if (Reduces(c.kind)) {
    RETURN_IF_ERROR(PlanReduction(rank, ranks));
  } else {
    PlanMoves(rank, ranks);
  }
  AddThen();
  // Staged results come home through pinned memory: a copy to other memory would wait for the
  // stream.
  if (writes && out_ != static_cast<std::byte*>(c.out.data)) {
    auto home = Take(Scratch::Place::kPinned, c.out.bytes());
    if (!home.ok()) return std::move(home).status();
    AddCopy(*home, out_, c.out.bytes());
    finish.emplace_back(
        [to = c.out.data, from = *home, bytes = c.out.bytes()] { std::memcpy(to, from, bytes); });
  }
  return {};
}

void Operation::AddThen() {
  if (!call.then) return;
  steps.push_back({.run = [this](const Lane& lane) { return call.then(lane.stream); }});
}

void Operation::PlanCheck(int rank, int ranks, std::byte* mine, std::byte* device) {
  const auto all = static_cast<std::size_t>(ranks);
  const Signature signature = SignatureOf(call.collective);
  std::memcpy(mine + all * sizeof signature, &signature, sizeof signature);
  std::byte* own = device + static_cast<std::size_t>(rank) * sizeof signature;
  AddCopy(own, mine + all * sizeof signature, sizeof signature);
  AddNccl("comparing the ranks' calls", [=](const NcclApi& api, NcclComm comm, CudaStream stream) {
    return api.all_gather(own, device, sizeof(Signature), kNcclU8, comm, stream);
  });
  AddCopy(mine, device, all * sizeof signature);
  steps.push_back({.run = [this](const Lane& lane) {
    return parts_.cuda->StatusOf("an event",
                                 parts_.cuda->api().event_record(checked_, lane.stream));
  }});
  // Before it is recorded, the event would say that it had been reached.
  steps.push_back({.run = [this, mine](const Lane&) {
    all_ = reinterpret_cast<const Signature*>(mine);
    return Status();
  }});
}

Status Operation::CheckAgreement() {
  if (all_ == nullptr || parts_.cuda->api().event_query(checked_) != kCudaSuccess) return {};
  const std::vector<Signature> by_rank(all_, all_ + ranks_);
  all_ = nullptr;
  return muster::CheckAgreement(by_rank, call.seq);
}

Result<bool> Operation::OnDevice(const void* memory) const {
  CudaPointerAttributes found;
  RETURN_IF_ERROR(parts_.cuda->StatusOf("where a buffer lies",
                                        parts_.cuda->api().pointer_get_attributes(&found, memory)));
  if (found.type == kCudaDevice && found.device != parts_.options.device) {
    return Status(Code::kInvalid, "a buffer lies on GPU " + std::to_string(found.device) +
                                      "; this group uses GPU " +
                                      std::to_string(parts_.options.device));
  }
  return found.type == kCudaDevice || found.type == kCudaManaged;
}

Status Operation::Stage(bool reads, bool writes) {
  const Collective& c = call.collective;
  in_ = static_cast<const std::byte*>(c.in.data);
  out_ = static_cast<std::byte*>(c.out.data);
  if (reads) {
    auto there = OnDevice(c.in.data);
    if (!there.ok()) return std::move(there).status();
    if (!*there) {
      auto pinned = Take(Scratch::Place::kPinned, c.in.bytes());
      if (!pinned.ok()) return std::move(pinned).status();
      auto device = Take(Scratch::Place::kDevice, c.in.bytes());
      if (!device.ok()) return std::move(device).status();
      std::memcpy(*pinned, c.in.data, c.in.bytes());
      AddCopy(*device, *pinned, c.in.bytes());
      in_ = *device;
    }
  }
  if (writes) {
    auto there = OnDevice(c.out.data);
    if (!there.ok()) return std::move(there).status();
    if (!*there) {
      auto device = Take(Scratch::Place::kDevice, c.out.bytes());
      if (!device.ok()) return std::move(device).status();
      out_ = *device;
    }
  }
  return {};
}

Status Operation::PlanReduction(int rank, int ranks) {
  const Collective& c = call.collective;
  if (ranks == 1) {
    AddCopy(out_, in_, c.out.bytes());
    return {};
  }
  if (parts_.options.reductions == NcclOptions::Reductions::kRankOrder) {
    return PlanOrdered(rank, ranks);
  }
  const NcclDataType type = NcclTypeOf(c.in.dtype);
  const NcclRedOp op = NcclOpOf(c.op);
  const std::size_t count = SignatureOf(c).count;
  AddNccl(NameOf(c.kind), [=, this, kind = c.kind, root = c.root](const NcclApi& api, NcclComm comm,
                                                                  CudaStream stream) {
    if (kind == Kind::kAllReduce) return api.all_reduce(in_, out_, count, type, op, comm, stream);
    if (kind == Kind::kReduceScatter) {
      return api.reduce_scatter(in_, out_, count, type, op, comm, stream);
    }
    return api.reduce(in_, out_, count, type, op, root, comm, stream);
  });
  return {};
}

void Operation::PlanMoves(int rank, int ranks) {
  const Collective& c = call.collective;
  const std::size_t bytes = SignatureOf(c).count * SizeOf(SignatureOf(c).dtype);
  switch (c.kind) {
    case Kind::kAllGather:
    case Kind::kSplit:
      return AddNccl("all_gather", [=, this](const NcclApi& api, NcclComm comm, CudaStream stream) {
        return api.all_gather(in_, out_, bytes, kNcclU8, comm, stream);
      });
    case Kind::kBroadcast:
      return AddNccl("broadcast", [=, this, root = c.root](const NcclApi& api, NcclComm comm,
                                                           CudaStream stream) {
        return api.broadcast(in_, out_, bytes, kNcclU8, root, comm, stream);
      });
    default:
      PlanOwnPart(rank);
      if (ranks > 1) PlanExchange(rank, ranks);
  }
}

// This rank's part of a gather, scatter or all_to_all stays here.
void Operation::PlanOwnPart(int rank) {
  const Collective& c = call.collective;
  const bool to_all = c.kind == Kind::kAllToAll;
  if (!to_all && c.root != rank) return;
  const std::size_t whole = std::max(c.in.bytes(), c.out.bytes());
  const std::size_t bytes = whole / static_cast<std::size_t>(ranks_);
  const std::size_t at = static_cast<std::size_t>(rank) * bytes;
  AddCopy(out_ + (c.kind == Kind::kScatter ? 0 : at), in_ + (c.kind == Kind::kGather ? 0 : at),
          bytes);
}

void Operation::PlanExchange(int rank, int ranks) {
  const Collective& c = call.collective;
  const bool to_all = c.kind == Kind::kAllToAll;
  const std::size_t size = SizeOf(SignatureOf(c).dtype);
  const std::size_t bytes =
      SignatureOf(c).count * size / (to_all ? static_cast<std::size_t>(ranks) : 1);
  AddNccl(NameOf(c.kind), [=, this, kind = c.kind, root = c.root](const NcclApi& api, NcclComm comm,
                                                                  CudaStream stream) {
    NcclResult result = kNcclSuccess;
    const bool at_root = root == rank;
    for (int r = 0; r < ranks && result == kNcclSuccess; ++r) {
      if (r == rank) continue;
      const std::size_t at = static_cast<std::size_t>(r) * bytes;
      const bool sends = to_all || (kind == Kind::kScatter ? at_root : r == root);
      const bool recvs = to_all || (kind == Kind::kGather ? at_root : r == root);
      if (sends) {
        const std::byte* from = in_ + (kind == Kind::kGather ? 0 : at);
        result = api.send(from, bytes, kNcclU8, r, comm, stream);
      }
      if (recvs && result == kNcclSuccess) {
        std::byte* to = out_ + (kind == Kind::kScatter ? 0 : at);
        result = api.recv(to, bytes, kNcclU8, r, comm, stream);
      }
    }
    return result;
  });
}

// ---- Reductions in the order of the ranks -------------------------------------------------------

// Each rank gets `n` elements of everybody's, `stride` apart, as the rows of its matrix.
void Operation::Deal(const std::byte* in, std::size_t stride, std::size_t n, int ranks,
                     std::byte* matrix) {
  const std::size_t size = SizeOf(call.collective.in.dtype);
  AddNccl("dealing slices", [=](const NcclApi& api, NcclComm comm, CudaStream stream) {
    NcclResult result = kNcclSuccess;
    for (int r = 0; r < ranks && result == kNcclSuccess; ++r) {
      const auto row = static_cast<std::size_t>(r);
      result = api.send(in + row * stride * size, n * size, kNcclU8, r, comm, stream);
      if (result != kNcclSuccess) break;
      result = api.recv(matrix + row * n * size, n * size, kNcclU8, r, comm, stream);
    }
    return result;
  });
}

void Operation::Combine(const std::byte* matrix, std::size_t n, int ranks, std::byte* out) {
  const Collective& c = call.collective;
  steps.push_back({.run = [=, this, dtype = static_cast<int>(c.in.dtype),
                           op = static_cast<int>(c.op)](const Lane& lane) {
    const int error = parts_.kernels->api().reduce(
        dtype, op, matrix, n, static_cast<std::size_t>(ranks), out, n, lane.stream);
    return parts_.cuda->StatusOf("combining", CudaError{error});
  }});
}

// In pieces, so that the memory for it is bounded; a piece's slices are of one size, and what is
// left over (less than a rank an element) every rank combines for itself.
Status Operation::PlanOrdered(int rank, int ranks) {
  constexpr std::size_t kPieceBytes = std::size_t{32} << 20U;
  const Collective& c = call.collective;
  const std::size_t size = SizeOf(c.in.dtype);
  const auto n = static_cast<std::size_t>(ranks);
  const auto me = static_cast<std::size_t>(rank);
  const bool scatters = c.kind == Kind::kReduceScatter;
  const std::size_t count = SignatureOf(c).count;
  const std::size_t most = std::max<std::size_t>(1, kPieceBytes / size / (scatters ? n : 1));
  const std::size_t rows = std::min(count, most) * (scatters ? n : 1);
  auto matrix = Take(Scratch::Place::kDevice, rows * size);
  if (!matrix.ok()) return std::move(matrix).status();
  auto rest = Take(Scratch::Place::kDevice, n * n * size);
  if (!rest.ok()) return std::move(rest).status();
  auto sum = Take(Scratch::Place::kDevice, (rows / n + 1) * size);
  if (!sum.ok()) return std::move(sum).status();
  for (std::size_t at = 0; at < count; at += most) {
    const std::size_t piece = std::min(most, count - at);
    const std::byte* in = in_ + at * size;
    std::byte* out = out_ == nullptr ? nullptr : out_ + at * size;
    if (scatters) {
      Deal(in, count, piece, ranks, *matrix);
      Combine(*matrix, piece, ranks, out);
      continue;
    }
    const bool wanted = c.kind == Kind::kAllReduce || c.root == rank;
    const std::size_t each = piece / n;
    const std::size_t left = piece - each * n;
    std::byte* mine = wanted ? out + me * each * size : *sum;
    if (each > 0) Deal(in, each, each, ranks, *matrix);
    if (left > 0) Deal(in + each * n * size, 0, left, ranks, *rest);
    if (each > 0) Combine(*matrix, each, ranks, mine);
    if (left > 0 && wanted) Combine(*rest, left, ranks, out + each * n * size);
    if (each == 0) continue;
    const std::size_t bytes = each * size;
    AddNccl("collecting slices", [=, kind = c.kind, root = c.root](
                                     const NcclApi& api, NcclComm comm, CudaStream stream) {
      if (kind == Kind::kAllReduce) {
        return api.all_gather(mine, out, bytes, kNcclU8, comm, stream);
      }
      if (rank != root) return api.send(mine, bytes, kNcclU8, root, comm, stream);
      NcclResult result = kNcclSuccess;
      for (int r = 0; r < ranks && result == kNcclSuccess; ++r) {
        if (r == root) continue;
        result =
            api.recv(out + static_cast<std::size_t>(r) * bytes, bytes, kNcclU8, r, comm, stream);
      }
      return result;
    });
  }
  return {};
}

}  // namespace muster
