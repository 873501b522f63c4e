// Bytes over a unix stream socket, and descriptors that go with them (SCM_RIGHTS).  Any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/base/file_posix.h"

namespace muster {

// A few bytes in one piece, which a socket that nobody wrote to takes at once.  At most two
// descriptors; they stay the caller's.
Status SendDescriptors(int socket, std::string_view bytes, const std::vector<int>& descriptors);

struct ReceivedBytes {
  std::string bytes;  // Empty: the peer closed its end.
  std::vector<UniqueFd> descriptors;
};
// One piece, of at most so many bytes.
Result<ReceivedBytes> ReceiveDescriptors(int socket, std::size_t most);

}  // namespace muster
