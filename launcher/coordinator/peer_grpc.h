// Who is at the other end of a call, and how a Status leaves over gRPC.  Any thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <string>

#include "runtime/base/identity.h"
#include "runtime/base/result.h"

namespace muster {

// From the certificate, which the TLS handshake has verified.  kDenied: it names nobody of ours.
Result<Identity> PeerOf(const grpc::ServerContextBase& context);

grpc::Status ToGrpc(const Status& status);

// Only an owner or an operator may touch a job.
Status MayTouch(const Identity& identity, std::uint32_t owner_uid);

}  // namespace muster
