// A store on a share that nobody mounted: nfs://, over libnfs's raw NFSv3 calls.
//
// Beside a mount it has one thing more: an end.  A server that is silent for the URL's timeout is
// an error that names file and offset, where a hard mount keeps its process for ever.  What a
// server was sent and has not made durable is kept in memory, at most 96 MiB a file, and sent again
// after a restart (uncommitted.h).  CREATE, LINK, REMOVE whose answer was lost are decided by
// looking.
//
// For movers and `muster ckpt`; ranks give their checkpoints to a mover.  One thread at a time.
#pragma once

#include <memory>
#include <string>

#include "runtime/checkpoint/nfs_url.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

// kUnimplemented where this build has no libnfs.
Result<std::unique_ptr<Store>> OpenNfsStore(const NfsUrl& url);

// What a job file or a command line calls a store: a path, or nfs://...
Result<std::unique_ptr<Store>> OpenAnyStore(const std::string& store);

}  // namespace muster::checkpoint
