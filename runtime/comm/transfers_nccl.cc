#include "runtime/comm/transfers_nccl.h"

#include <algorithm>
#include <cstring>

namespace muster {

struct Transfers::Header {
  Signature signature;
  std::int32_t tag = 0;
  std::int32_t unused[3] = {};
};

// What came from one rank, and who waits for it.
class Transfers::Receiver {
 public:
  Receiver(const NcclSession::Parts& parts, OperationLane& lane, int rank, int peer)
      : parts_(parts), lane_(lane), rank_(rank), peer_(peer) {}

  void Push(const std::shared_ptr<Operation>& operation, const OperationLane::End& end) {
    const int tag = operation->call.collective.tag;
    const auto early = std::find_if(aside_.begin(), aside_.end(),
                                    [&](const Aside& a) { return a.header.tag == tag; });
    if (early == aside_.end()) {
      asked_.push_back({operation, end});
      if (!listening_) Listen();
      return;
    }
    const Aside aside = *early;
    aside_.erase(early);
    TakeAside(aside, {operation, end});
  }

  bool idle() const { return asked_.empty(); }

  void EndAll(const Status& status) {
    std::deque<Asked> left;
    left.swap(asked_);
    for (const Asked& one : left) one.end(status);
  }

 private:
  struct Asked {
    std::shared_ptr<Operation> operation;
    OperationLane::End end;
  };
  struct Aside {
    Header header;
    std::shared_ptr<Operation> holder;  // Of the memory.
    std::byte* memory = nullptr;
  };

  // For the next header, as long as somebody waits for a message.
  void Listen() {
    Call call;
    call.collective = Collective::Recv({}, peer_, 0);
    auto operation = std::make_shared<Operation>(parts_, call);
    auto host = operation->Take(Scratch::Place::kPinned, sizeof(Header));
    auto device = operation->Take(Scratch::Place::kDevice, sizeof(Header));
    if (!host.ok() || !device.ok()) return EndAll(host.ok() ? device.status() : host.status());
    listening_ = true;
    operation->AddNccl("receiving a header",
                       [to = *device](const NcclApi& api, NcclComm comm, CudaStream stream) {
                         return api.recv(to, sizeof(Header), kNcclU8, kSender, comm, stream);
                       });
    operation->AddCopy(*host, *device, sizeof(Header));
    lane_.Push(operation, [this, from = *host](const Status& status) {
      listening_ = false;
      if (!status.ok()) return EndAll(status);
      Header header;
      std::memcpy(&header, from, sizeof header);
      Receive(header);
      if (!asked_.empty() && !listening_) Listen();
    });
  }

  std::string Name(const Collective& call) const {
    return "rank " + std::to_string(rank_) + ": " + Describe(SignatureOf(call)) + " tag " +
           std::to_string(call.tag);
  }

  Status Mismatch(const Header& header, const Collective& call) const {
    const Signature& sent = header.signature;
    if (sent.dtype == call.out.dtype && sent.count == call.out.count) return {};
    return Status(Code::kInvalid,
                  Name(call) + ", but rank " + std::to_string(peer_) + ": " + Describe(sent));
  }

  // Takes the bytes that follow this header.
  void Receive(const Header& header) {
    const std::size_t bytes = header.signature.count * SizeOf(header.signature.dtype);
    const auto who = std::find_if(asked_.begin(), asked_.end(), [&](const Asked& a) {
      return a.operation->call.collective.tag == header.tag;
    });
    Asked asked;
    if (who != asked_.end()) {
      asked = *who;
      asked_.erase(who);
    }
    Call call;
    call.collective = Collective::Recv({}, peer_, 0);
    auto operation = std::make_shared<Operation>(parts_, call);
    auto device = operation->Take(Scratch::Place::kDevice, bytes);
    if (!device.ok()) {
      if (asked.end) asked.end(device.status());
      return;
    }
    Aside aside{.header = header, .holder = operation, .memory = *device};
    if (bytes > 0) {
      operation->AddNccl(
          "receiving", [to = *device, bytes](const NcclApi& api, NcclComm comm, CudaStream stream) {
            return api.recv(to, bytes, kNcclU8, kSender, comm, stream);
          });
    }
    if (!asked.end) {
      lane_.Push(operation, [](const Status&) {});
      aside_.push_back(std::move(aside));
    } else {
      lane_.Push(operation, [](const Status&) {});
      TakeAside(aside, asked);
    }
  }

  // Copies to whoever asked, in the lane behind the bytes' arrival.
  void TakeAside(const Aside& aside, const Asked& asked) {
    const Collective& call = asked.operation->call.collective;
    const Status mismatch = Mismatch(aside.header, call);
    const std::size_t bytes = call.out.bytes();
    auto operation = asked.operation;
    if (mismatch.ok() && bytes > 0) {
      CudaPointerAttributes found;
      static_cast<void>(parts_.cuda->api().pointer_get_attributes(&found, call.out.data));
      if (found.type == kCudaDevice || found.type == kCudaManaged) {
        operation->AddCopy(call.out.data, aside.memory, bytes);
      } else {
        auto pinned = operation->Take(Scratch::Place::kPinned, bytes);
        if (!pinned.ok()) return asked.end(pinned.status());
        operation->AddCopy(*pinned, aside.memory, bytes);
        operation->finish.emplace_back(
            [to = call.out.data, from = *pinned, bytes] { std::memcpy(to, from, bytes); });
      }
    }
    // The holder lives until the copy has ended.
    lane_.Push(operation, [end = asked.end, mismatch, holder = aside.holder](const Status& status) {
      end(status.ok() ? mismatch : status);
    });
  }

  static constexpr int kSender = 0;

  const NcclSession::Parts& parts_;
  OperationLane& lane_;
  const int rank_, peer_;
  bool listening_ = false;
  std::deque<Asked> asked_;
  std::deque<Aside> aside_;
};

Transfers::Transfers(const NcclSession::Parts& parts, std::string name, int rank)
    : parts_(parts), name_(std::move(name)), rank_(rank) {}

Transfers::~Transfers() = default;

// The sender makes the id, and is rank 0.
Result<std::shared_ptr<Communicator>> Transfers::Pair(int peer, bool sends, TimePoint* next_look) {
  const std::string key = name_ + "/pair/" + std::to_string(sends ? rank_ : peer) + "/" +
                          std::to_string(sends ? peer : rank_);
  NcclUniqueId id;
  if (sends) {
    auto made = parts_.nccl->MakeUniqueId();
    if (!made.ok()) return std::move(made).status();
    id = *made;
    RETURN_IF_ERROR(parts_.store->Set(key, std::string(id.bytes, sizeof id.bytes)));
  } else {
    // The store may be a daemon away: it is not asked at every turn.
    const TimePoint now = RealClock().Now();
    if (now < *next_look) return std::shared_ptr<Communicator>();
    *next_look = now + std::chrono::milliseconds(2);
    const auto told = parts_.store->Get(key, Duration::zero());
    if (!told.ok() && told.status().code() != Code::kDeadline) return told.status();
    if (!told.ok()) return std::shared_ptr<Communicator>();
    if (told->size() != sizeof id.bytes) {
      return Status(Code::kDataLoss, "key " + key + " holds no id of NCCL");
    }
    std::memcpy(id.bytes, told->data(), sizeof id.bytes);
  }
  return Communicator::Init(parts_.nccl, id, sends ? 0 : 1, 2);
}

OperationLane& Transfers::LaneOf(int peer, bool sends) {
  auto& lane = lanes_[{peer, sends}];
  if (lane == nullptr) {
    lane = std::make_unique<OperationLane>(
        parts_, OperationLane::Make([this, peer, sends, next_look = TimePoint{}]() mutable {
          return Pair(peer, sends, &next_look);
        }));
  }
  return *lane;
}

void Transfers::Push(const std::shared_ptr<Operation>& operation, const OperationLane::End& end) {
  const int peer = operation->call.collective.root;
  if (operation->call.collective.kind == Collective::Kind::kSend) return Send(operation, end);
  auto& receiver = receivers_[peer];
  if (receiver == nullptr) {
    receiver = std::make_unique<Receiver>(parts_, LaneOf(peer, false), rank_, peer);
  }
  receiver->Push(operation, end);
}

void Transfers::Send(const std::shared_ptr<Operation>& operation, const OperationLane::End& end) {
  const Collective& call = operation->call.collective;
  auto header = operation->Take(Scratch::Place::kPinned, sizeof(Header));
  if (!header.ok()) return end(header.status());
  auto to = operation->Take(Scratch::Place::kDevice, sizeof(Header));
  if (!to.ok()) return end(to.status());
  const Header what{.signature = SignatureOf(call), .tag = call.tag};
  std::memcpy(*header, &what, sizeof what);
  operation->AddCopy(*to, *header, sizeof what);
  operation->AddNccl("sending a header",
                     [from = *to](const NcclApi& api, NcclComm comm, CudaStream stream) {
                       return api.send(from, sizeof(Header), kNcclU8, 1, comm, stream);
                     });
  const std::size_t bytes = call.in.bytes();
  const void* from = call.in.data;
  if (bytes > 0) {
    CudaPointerAttributes found;
    static_cast<void>(parts_.cuda->api().pointer_get_attributes(&found, from));
    if (found.type != kCudaDevice && found.type != kCudaManaged) {
      auto pinned = operation->Take(Scratch::Place::kPinned, bytes);
      if (!pinned.ok()) return end(pinned.status());
      auto device = operation->Take(Scratch::Place::kDevice, bytes);
      if (!device.ok()) return end(device.status());
      std::memcpy(*pinned, from, bytes);
      operation->AddCopy(*device, *pinned, bytes);
      from = *device;
    }
    operation->AddNccl("sending",
                       [from, bytes](const NcclApi& api, NcclComm comm, CudaStream stream) {
                         return api.send(from, bytes, kNcclU8, 1, comm, stream);
                       });
  }
  LaneOf(call.root, true).Push(operation, end);
}

bool Transfers::Advance(TimePoint now) {
  bool moved = false;
  for (const auto& [peer, lane] : lanes_) moved = lane->Advance(now) || moved;
  return moved;
}

bool Transfers::idle() const {
  return std::all_of(lanes_.begin(), lanes_.end(),
                     [](const auto& entry) { return entry.second->idle(); });
}

Status Transfers::broken() const {
  for (const auto& [peer, lane] : lanes_) {
    if (lane->broken().ok()) continue;
    return Status(lane->broken())
        .While((peer.second ? "sending to rank " : "receiving from rank ") +
               std::to_string(peer.first));
  }
  return {};
}

void Transfers::Stop() {
  for (const auto& [peer, lane] : lanes_) lane->Stop(false);
}

bool Transfers::Stopped() {
  return std::all_of(lanes_.begin(), lanes_.end(),
                     [](const auto& entry) { return entry.second->Stopped(); });
}

void Transfers::EndAll(const Status& status) {
  for (const auto& [peer, receiver] : receivers_) receiver->EndAll(status);
  for (const auto& [peer, lane] : lanes_) lane->EndAll(status);
}

bool Transfers::Close() {
  bool closed = true;
  for (const auto& [peer, lane] : lanes_) closed = lane->Close() && closed;
  return closed;
}

}  // namespace muster
