// The coordinator's one port: mutual TLS, and both services behind it.
#pragma once

#include <memory>
#include <string>

#include "launcher/coordinator/config.h"
#include "launcher/coordinator/loop_threads.h"
#include "runtime/base/tls_openssl.h"

namespace muster {

class CoordinatorServer {
 public:
  // Listens at `listen`, or with port 0 at `before` if that is free, else where the kernel likes.
  // The loop has started and outlives the server.  kUnavailable: the port is taken.
  static Result<std::unique_ptr<CoordinatorServer>> Listen(const CoordinatorConfig& config,
                                                           const Credentials& credentials,
                                                           const std::string& before, Loop& loop);
  virtual ~CoordinatorServer() = default;

  // "127.0.0.1:41234": for those on this host, even if it listens everywhere.
  virtual const std::string& address() const = 0;
  // No new calls; those under way get a second.
  virtual void Shutdown() = 0;
};

// gRPC's own complaints become lines of our log.  Call before anything of gRPC; it starts threads.
void RouteGrpcLog();

}  // namespace muster
