#include "launcher/jobd/memory_posix.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "runtime/base/text.h"

namespace muster {

Result<JobMemory::Block> JobMemory::Find(const std::string& name) const {
  const auto found = blocks_.find(name);
  if (found == blocks_.end()) {
    return Status(Code::kNotFound, "no memory named '" + name + "' on this node");
  }
  return Block{.fd = found->second.fd.get(), .bytes = found->second.bytes};
}

Result<JobMemory::Block> JobMemory::Get(const std::string& name, std::uint64_t bytes) {
  if (Result<Block> held = Find(name); held.ok()) {
    if (held->bytes == bytes) return held;
    return Status(Code::kInvalid, "memory '" + name + "' has " + std::to_string(held->bytes) +
                                      " bytes since it was made, " + std::to_string(bytes) +
                                      " were asked for; use another name");
  }
  if (bytes == 0) return Status(Code::kInvalid, "memory '" + name + "' of 0 bytes");
  if (bytes > bound_ - charged_) {
    return Status(Code::kExhausted, "memory '" + name + "' of " + HumanBytes(bytes) +
                                        " does not fit: the job holds " + HumanBytes(charged_) +
                                        " of the " + HumanBytes(bound_) +
                                        " that it may hold on a node");
  }
  UniqueFd fd(
      memfd_create(("muster:" + name.substr(0, 200)).c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd.valid()) return ErrnoStatus("memfd_create", errno);
  if (ftruncate(fd.get(), static_cast<off_t>(bytes)) != 0 ||
      fcntl(fd.get(), F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) != 0) {
    return ErrnoStatus("memory '" + name + "'", errno);
  }
  const Block block{.fd = fd.get(), .bytes = bytes, .fresh = true};
  blocks_.emplace(name, Held{std::move(fd), bytes});
  charged_ += bytes;
  return block;
}

Result<JobMemory::Block> JobMemory::GetAtLeast(const std::string& name, std::uint64_t bytes) {
  constexpr std::uint64_t kStep = std::uint64_t{2}
                                  << 20U;  // So that it need not be made too often.
  const auto found = blocks_.find(name);
  if (found != blocks_.end()) {
    if (found->second.bytes >= bytes) return Find(name);
    charged_ -= found->second.bytes;
    blocks_.erase(found);
  }
  return Get(name, (std::max<std::uint64_t>(bytes, 1) + kStep - 1) / kStep * kStep);
}

}  // namespace muster
