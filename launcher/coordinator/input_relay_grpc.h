// Input for rank 0: the stream of who gives it, and that of the agent that pulls it.
//
// One piece is under way: the next one is read from the giver when the agent's stream has taken the
// last.  Locks are taken in the order agent's stream, giver's.
#pragma once

#include <memory>

#include "launcher/coordinator/loop_threads.h"
#include "launcher/coordinator/relays_threads.h"
#include "launcher/coordinator/stream_grpc.h"
#include "muster/v1/agent.grpc.pb.h"
#include "muster/v1/cluster.grpc.pb.h"

namespace muster {

class InputStream;
using InputRelays = Relays<InputStream>;
class PullStream;

class InputStream final
    : public OutStream<grpc::ServerBidiReactor<v1::InputPiece, v1::InputWord>, v1::InputWord>,
      public InputGiver,
      public std::enable_shared_from_this<InputStream> {
 public:
  InputStream(Loop& loop, InputRelays& relays, Identity identity, std::uint64_t id)
      : loop_(loop), relays_(relays), identity_(std::move(identity)), id_(id) {}
  void Begin() { StartRead(&in_); }

  // The agent can write to rank 0.  False: it is too late, or another did.
  bool Attach(const std::shared_ptr<PullStream>& to);
  // There is room for the next piece.
  void ReadOn();

  void OnReadDone(bool ok) override;
  void Offered() override { Say(1); }
  void Expect(std::uint64_t id, const NodeName& node) override;
  void End(const Status& status) override { EndWith(status); }

 private:
  void Say(int words);
  bool Next(v1::InputWord* out) override;
  void Gone() override;

  Loop& loop_;
  InputRelays& relays_;
  const Identity identity_;
  const std::uint64_t id_;
  v1::InputPiece in_;  // gRPC's while a read is under way.
  JobId job_ = 0;      // gRPC's reads only.
  // Guarded by mutex_.
  int words_due_ = 0, words_said_ = 0;  // The first one says that it is offered, then attached.
  std::weak_ptr<PullStream> to_;
};

class PullStream final
    : public OutStream<grpc::ServerBidiReactor<v1::PullWord, v1::InputPiece>, v1::InputPiece>,
      public std::enable_shared_from_this<PullStream> {
 public:
  PullStream(InputRelays& relays, NodeName node) : relays_(relays), node_(std::move(node)) {}
  void Begin(const Status& status);

  void Give(v1::InputPiece piece);

  void OnReadDone(bool ok) override;

 private:
  // The agent's word, and what it makes of the call: kept open when that is empty.
  std::optional<Status> Heard();
  std::shared_ptr<InputStream> giver();
  bool Next(v1::InputPiece* out) override;
  void Gone() override;

  InputRelays& relays_;
  const NodeName node_;
  v1::PullWord in_;
  bool heard_ = false;   // gRPC's reads only, as the next.
  bool closed_ = false;  // Rank 0 reads no more.
  // Guarded by mutex_.
  std::weak_ptr<InputStream> giver_;
  std::optional<v1::InputPiece> piece_;
  bool under_way_ = false;
};

}  // namespace muster
