#include "runtime/base/stream_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace muster {
namespace {

// Every way for both ends to lie to the lines of the cache, and sizes around one and two of them.
TEST(StreamCopy, CopiesEachByteAndNoOther) {
  constexpr std::size_t kMost = 192, kGuard = 64;
  std::vector<std::byte> from(kGuard + kMost);
  for (std::size_t i = 0; i < from.size(); ++i) from[i] = static_cast<std::byte>(i * 7 + 1);
  for (std::size_t into_at = 0; into_at < 64; ++into_at) {
    for (const std::size_t from_at : {0U, 1U, 16U, 63U}) {
      for (std::size_t bytes = 0; bytes <= kMost - 64; ++bytes) {
        std::vector<std::byte> into(kGuard + kMost + kGuard, std::byte{0});
        std::vector<std::byte> want = into;
        std::copy_n(from.begin() + static_cast<std::ptrdiff_t>(from_at), bytes,
                    want.begin() + static_cast<std::ptrdiff_t>(into_at));
        StreamCopy(into.data() + into_at, from.data() + from_at, bytes);
        ASSERT_EQ(into, want) << bytes << " bytes from " << from_at << " to " << into_at;
      }
    }
  }
}

}  // namespace
}  // namespace muster
