#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

Result<std::string> ReadWhole(Store& store, const std::string& path, std::uint64_t limit) {
  const auto size = store.Size(path);
  if (!size.ok()) return size.status();
  if (*size > limit) {
    return Status(Code::kExhausted, path + " has " + std::to_string(*size) +
                                        " bytes, more than the " + std::to_string(limit) +
                                        " allowed");
  }
  std::string bytes(*size, '\0');
  const auto read = store.Read(path, 0, std::as_writable_bytes(std::span(bytes)));
  if (!read.ok()) return read.status();
  bytes.resize(*read);
  return bytes;
}

Status UnlinkIfThere(Store& store, const std::string& path) {
  Status gone = store.Unlink(path);
  return gone.code() == Code::kNotFound ? Status() : gone;
}

Status WriteWhole(Store& store, const std::string& path, std::string_view bytes) {
  auto file = store.Create(path);
  if (!file.ok()) return std::move(file).status();
  Status written = (*file)->WriteAt(0, std::as_bytes(std::span(bytes)));
  if (written.ok()) written = (*file)->SyncAndClose();
  if (!written.ok()) static_cast<void>(store.Unlink(path));  // What stays is rubbish for gc.
  return written;
}

}  // namespace muster::checkpoint
