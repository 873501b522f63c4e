// The agent's end of the unix socket to one job daemon: frames of a 32-bit little-endian length and
// an EncodeVariant() body, orders down, reports up.
//
// Never blocks.  One thread, the agent's loop.
#pragma once

#include <functional>
#include <string>

#include "runtime/base/file_posix.h"
#include "runtime/base/orders.h"
#include "runtime/base/statuses.h"

namespace muster {

class JobdLink {
 public:
  // Connects, and checks that the other side runs as `uid`.  kUnavailable: nobody listens there
  // yet; kDenied: somebody else does.
  static Result<JobdLink> Connect(const std::string& socket, std::uint32_t uid);

  int fd() const { return fd_.get(); }
  bool wants_to_write() const { return !out_.empty(); }

  void Queue(const Order& order);
  // Writes what can be written now.
  Status Flush();
  // Reads what is there.  kUnavailable when the other side closed.
  Status Read(const std::function<void(const Report&)>& on_report);

 private:
  explicit JobdLink(UniqueFd fd) : fd_(std::move(fd)) {}

  UniqueFd fd_;
  std::string in_, out_;
};

}  // namespace muster
