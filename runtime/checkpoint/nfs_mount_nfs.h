// From a URL to a folder's handle: the MOUNT protocol of NFSv3, and words for every way it fails.
//
// One thread; waits at most some seconds, whatever the URL's timeout: who opens a store wants to
// know soon.
#pragma once

#include <string>

#include "runtime/checkpoint/nfs_session_nfs.h"

namespace muster::checkpoint {

struct MountedFolder {
  FileHandle handle;
  std::string address;  // Of the server: numeric, so that a later connection asks no name service.
};

// kInvalid: the server speaks NFSv4 only (the message has the mount line).  kNotFound, kDenied:
// what the server says about the export.
Result<MountedFolder> MountFolder(const NfsUrl& url);

}  // namespace muster::checkpoint
