// The NCCL of this machine: found, checked and bound at run time.
//
// One per process.  Its functions may be called by any thread, those of one communicator by one
// thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/comm/nccl_versions.h"

namespace muster {

class NcclLibrary {
 public:
  // `path`: that file and no other; empty: MUSTER_NCCL_LIBRARY, else libnccl.so.2 of the loader.
  // kUnavailable: there is none, or it will not do.
  static Result<std::shared_ptr<const NcclLibrary>> Load(const std::string& path = "");

  const NcclApi& api() const { return api_; }
  const NcclFeatures& features() const { return features_; }
  const std::vector<NcclSymbol>& symbols() const { return symbols_; }
  const std::string& path() const { return path_; }

  // With the library's words for it.  `comm` may be null.
  Status StatusOf(const std::string& doing, NcclResult result, NcclComm comm = nullptr) const;

  // A new one.  Needs no GPU.
  Result<NcclUniqueId> MakeUniqueId() const;

 private:
  NcclLibrary() = default;

  NcclApi api_;
  NcclFeatures features_;
  std::vector<NcclSymbol> symbols_;
  std::string path_;
};

}  // namespace muster
