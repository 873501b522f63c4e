// Instead of store_nfs.cc, in a build without libnfs.
#include "runtime/checkpoint/store_nfs.h"

namespace muster::checkpoint {

Result<std::unique_ptr<Store>> OpenNfsStore(const NfsUrl& url) {
  return Status(
      Code::kUnimplemented,
      "store " + ShortText(url) +
          ": this build has no libnfs (Debian's libnfs-dev); rebuild with it, or mount the "
          "share and give the path: " +
          MountLine(url, "/mnt/checkpoints"));
}

}  // namespace muster::checkpoint
