#include "runtime/checkpoint/store_nfs.h"
#include "runtime/checkpoint/store_posix.h"

namespace muster::checkpoint {

Result<std::unique_ptr<Store>> OpenAnyStore(const std::string& store) {
  if (!IsNfsUrl(store)) return OpenStore(store);
  const auto url = ParseNfsUrl(store);
  if (!url.ok()) return url.status();
  return OpenNfsStore(*url);
}

}  // namespace muster::checkpoint
