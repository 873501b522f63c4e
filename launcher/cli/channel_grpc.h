// One TLS connection to the coordinator, made anew when the coordinator comes back elsewhere.
// Any thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <condition_variable>
#include <functional>
#include <memory>

#include "launcher/cli/client_grpc.h"
#include "muster/v1/cluster.grpc.pb.h"
#include "runtime/base/mutex.h"

namespace muster {

// Status of gRPC as ours.
Status FromGrpc(const grpc::Status& status);

struct ClusterClient::Channel {
  using Stub = v1::Cluster::Stub;

  explicit Channel(ClientConfig config_in) : config(std::move(config_in)) {}

  // The connection, made if there is none.  kUnavailable: nobody knows where to.
  Result<std::shared_ptr<Stub>> Connect();
  // It failed: the next Connect() looks for the address again.
  void Drop(const std::shared_ptr<Stub>& failed);

  // Tries `call` until it says something final, or for the patience.
  Status Try(const std::function<grpc::Status(Stub&, grpc::ClientContext&)>& call);

  // "no coordinator answers at 127.0.0.1:4711 (for 10 s): what gRPC said last".
  Status Away(const Status& last);

  const ClientConfig config;
  Mutex mutex;
  std::shared_ptr<Stub> stub GUARDED_BY(mutex);
  std::string address GUARDED_BY(mutex);
};

// Whether to try again: the coordinator is away, starting, stopping or busy.
bool IsPassing(const Status& status);

// Waits between two tries: 10 ms, then twice as long each time, at most 500 ms.
class Backoff {
 public:
  void Reset() { next_ms_ = kFirstMs; }
  // False when `stop` came true meanwhile; whoever sets it notifies.
  bool Wait(Mutex& mutex, std::condition_variable_any& wake, const std::function<bool()>& stop);

 private:
  static constexpr int kFirstMs = 10, kMostMs = 500;
  int next_ms_ = kFirstMs;
};

}  // namespace muster
