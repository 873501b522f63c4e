// The address of a share that is opened without a mount: nfs://HOST[:PORT]/EXPORT/FOLDER?OPTIONS
//
// Options, by the names that mount(8) gives them where it has one: mountport=N (else the server's
// portmapper is asked), nconnect=N, timeout=SECONDS (how long a server may be silent before a call
// gives up).  Pure; any thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "runtime/base/result.h"

namespace muster::checkpoint {

struct NfsUrl {
  std::string host;  // A name, or a numeric address; IPv6 without its brackets.
  std::uint16_t port = 2049;
  std::string path;  // Such as "/export/checkpoints": absolute, no "..", no '/' at its end.
  std::uint16_t mountport = 0;  // 0: ask the portmapper.
  std::uint32_t nconnect = 4;
  std::chrono::seconds timeout{120};
  bool operator==(const NfsUrl&) const = default;
};

bool IsNfsUrl(const std::string& store);

// kInvalid says what was found and what is allowed.
Result<NfsUrl> ParseNfsUrl(const std::string& url);

// "nfs://host/path", without options: for messages.
std::string ShortText(const NfsUrl& url);

// The command that mounts the same folder with the kernel's client, as configs/nfs.md advises.
std::string MountLine(const NfsUrl& url, const std::string& mount_point);

}  // namespace muster::checkpoint
