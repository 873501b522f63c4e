// The agent's TLS connection to the coordinator.  Any thread.
#pragma once

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "runtime/base/tls_openssl.h"

namespace muster {

// Connects when it is first used.
std::shared_ptr<grpc::Channel> OpenChannel(const std::string& address,
                                           const Credentials& credentials);

}  // namespace muster
