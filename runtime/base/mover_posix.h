// Frames between a job daemon and its mover (mover.h): one packet each, on SOCK_SEQPACKET.
//
// A body too large for a packet travels in a memfd beside it, so that a frame of any size is sent
// by one sendmsg(2): never in part, and without waiting on a non-blocking socket that has room.
// Any thread; one sender and one receiver at a time for a socket.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "runtime/base/file_posix.h"
#include "runtime/base/result.h"

namespace muster::mover {

struct Frame {
  std::uint64_t id = 0;
  std::string body;  // EncodeVariant of a ToMover or a FromMover.
  UniqueFd payload;  // The memory that Write and Loaded carry.
};

// `payload` < 0: none.  kUnavailable: a non-blocking socket is full, or the peer is gone.
Status SendFrame(int socket, std::uint64_t id, std::string_view body, int payload = -1);

// nullopt: the peer has closed its end.
Result<std::optional<Frame>> ReceiveFrame(int socket);

}  // namespace muster::mover
