// Reading from an NFS server: a file's bytes, several READs at once, and the names in a folder.
//
// One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "runtime/checkpoint/nfs_session_nfs.h"

namespace muster::checkpoint {

struct ReadRange {
  std::uint64_t offset = 0;
  std::span<std::byte> into;
  std::uint32_t piece = 0;  // Of one READ.
};

struct ReadOutcome {
  nfsstat3 status = NFS3_OK;
  std::size_t bytes = 0;  // Fewer than asked for only at the end of the file.
};

Result<ReadOutcome> ReadAt(NfsSession& session, const FileHandle& file, const ReadRange& range);

Result<std::vector<std::string>> ListFolder(NfsSession& session, const FileHandle& folder);

}  // namespace muster::checkpoint
