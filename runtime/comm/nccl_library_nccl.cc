#include "runtime/comm/nccl_library_nccl.h"

#include <type_traits>

#include "runtime/base/dynamic_library_posix.h"
#include "runtime/base/env_posix.h"

namespace muster {

Result<std::shared_ptr<const NcclLibrary>> NcclLibrary::Load(const std::string& path) {
  std::vector<std::string> candidates = {path};
  if (path.empty()) {
    const auto named = GetEnv("MUSTER_NCCL_LIBRARY");
    candidates = named ? std::vector{*named} : std::vector<std::string>{"libnccl.so.2"};
  }
  auto opened = DynamicLibrary::Open(candidates);
  if (!opened.ok()) {
    return Status(Code::kUnavailable,
                  "no NCCL: " + opened.status().message() +
                      "; GPUs talk through NCCL 2.18 to 2.30: install NVIDIA's libnccl2, or name "
                      "the file in MUSTER_NCCL_LIBRARY");
  }
  std::shared_ptr<NcclLibrary> library(new NcclLibrary);
  library->path_ = opened->path();
  ForEachNcclSymbol(library->api_, [&](const char* name, int since, const char* purpose,
                                       auto& function) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(opened->Find(name));
    library->symbols_.push_back({.name = name,
                                 .since = since,
                                 .purpose = purpose == nullptr ? "" : purpose,
                                 .found = function != nullptr});
  });
  int version = 0;
  if (library->api_.get_version == nullptr || library->api_.get_version(&version) != kNcclSuccess) {
    return Status(Code::kUnavailable, library->path_ +
                                          " does not say its version: it is no NCCL; name another "
                                          "file in MUSTER_NCCL_LIBRARY");
  }
  auto features = NegotiateNccl(version, library->symbols_, library->path_);
  if (!features.ok()) return std::move(features).status();
  library->features_ = *std::move(features);
  return std::shared_ptr<const NcclLibrary>(std::move(library));
}

Status NcclLibrary::StatusOf(const std::string& doing, NcclResult result, NcclComm comm) const {
  if (result == kNcclSuccess) return {};
  std::string text = api_.get_error_string(result);
  const char* last = api_.get_last_error(comm);
  if (last != nullptr && *last != '\0') text += std::string("; ") + last;
  return NcclStatus(doing, result, text);
}

Result<NcclUniqueId> NcclLibrary::MakeUniqueId() const {
  NcclUniqueId id;
  RETURN_IF_ERROR(StatusOf("ncclGetUniqueId", api_.get_unique_id(&id)));
  return id;
}

}  // namespace muster
