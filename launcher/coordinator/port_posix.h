// Why the coordinator cannot listen somewhere: gRPC says it only in its log.
//
// Any thread.
#pragma once

#include <string>

namespace muster {

// What the kernel has against it, and what can be done; tries it once more.  `listen_host` may be
// an IPv6 address in brackets.
std::string WhyNoPort(const std::string& listen_host, int port);

}  // namespace muster
