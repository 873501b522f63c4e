#include "runtime/checkpoint/nfs_mount_nfs.h"

#include <fcntl.h>
#include <netdb.h>
#include <nfsc/libnfs-raw-mount.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace muster::checkpoint {
namespace {

using std::chrono::milliseconds;

constexpr Duration kPatience = std::chrono::seconds(10);
constexpr int kPauseMs = 50;  // Between two tries to connect.

// What the server let us hear: a reply, or why there is none.
struct Heard {
  bool back = false;
  bool ok = false;
  std::string error;
  OnReply read;
};

// A connection for a few calls in a row.
class Line {
 public:
  using Begin = std::function<int(rpc_context*, rpc_cb, void*)>;

  Line() : rpc_(NewContext()) {}
  Line(const Line&) = delete;
  Line& operator=(const Line&) = delete;
  ~Line() {
    const int fd = rpc_get_fd(rpc_);
    rpc_destroy_context(rpc_);
    if (fd >= 0 && fcntl(fd, F_GETFD) != -1) close(fd);  // As in nfs_session_nfs.cc.
  }

  // Whether the server did what was asked; `error()` says why not.
  bool Do(
      const Begin& begin, TimePoint deadline, OnReply read = [](void*) {}) {
    heard_ = Heard{.read = std::move(read)};
    if (begin(rpc_, OnReturn, &heard_) != 0) return Failed(rpc_get_error(rpc_));
    while (!heard_.back) {
      const TimePoint now = RealClock().Now();
      if (now >= deadline) return Failed("no answer");
      pollfd one{.fd = rpc_get_fd(rpc_), .events = static_cast<short>(rpc_which_events(rpc_))};
      const auto wait = std::chrono::ceil<milliseconds>(deadline - now);
      poll(&one, 1, static_cast<int>(wait.count()));
      if (one.revents == 0) continue;
      const std::string trouble = SocketTrouble(one.fd, one.revents);
      const int served = rpc_service(rpc_, one.revents);
      if (!trouble.empty()) return Failed(trouble.c_str());
      if (served != 0 && !heard_.back) return Failed(rpc_get_error(rpc_));
    }
    if (!heard_.ok && heard_.error.empty()) return Failed("the connection was closed");
    return heard_.ok;
  }
  const std::string& error() const { return heard_.error; }

 private:
  static void OnReturn(rpc_context* /*rpc*/, int status, void* data, void* private_data) {
    auto& heard = *static_cast<Heard*>(private_data);
    heard.back = true;
    heard.ok = status == RPC_STATUS_SUCCESS;
    if (heard.ok) heard.read(data);
    if (status == RPC_STATUS_ERROR && data != nullptr) heard.error = static_cast<char*>(data);
  }
  bool Failed(const char* error) {
    heard_.error = error != nullptr ? error : "unknown error";
    return false;
  }

  Heard heard_;  // Before rpc_, whose end still calls back.
  rpc_context* rpc_;
};

Result<std::string> Resolve(const NfsUrl& url) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  int error = getaddrinfo(url.host.c_str(), nullptr, &hints, &found);
  char text[NI_MAXHOST] = "";
  if (error == 0) {
    error = getnameinfo(found->ai_addr, found->ai_addrlen, text, sizeof text, nullptr, 0,
                        NI_NUMERICHOST);
    freeaddrinfo(found);
  }
  if (error == 0) return std::string(text);
  return Status(Code::kUnavailable, "host " + url.host + ": " + gai_strerror(error));
}

Status Connect(Line& line, const NfsUrl& url, const std::string& address, TimePoint deadline) {
  const auto connect = [&](rpc_context* rpc, rpc_cb reply, void* data) {
    return rpc_connect_async(rpc, address.c_str(), url.port, reply, data);
  };
  if (line.Do(connect, deadline)) return {};
  return Status(Code::kUnavailable, "cannot connect to port " + std::to_string(url.port) + " of " +
                                        address + ": " + line.error());
}

// That the server speaks NFSv3.  One that is just starting is waited for.
Status CheckVersion(const NfsUrl& url, const std::string& address, TimePoint deadline) {
  for (;;) {
    Line line;
    Status connected = Connect(line, url, address, deadline);
    if (!connected.ok()) {
      if (RealClock().Now() + milliseconds(kPauseMs) >= deadline) return connected;
      poll(nullptr, 0, kPauseMs);
      continue;
    }
    const auto null3 = [](rpc_context* rpc, rpc_cb reply, void* data) {
      return rpc_nfs3_null_async(rpc, reply, data);
    };
    const auto null4 = [](rpc_context* rpc, rpc_cb reply, void* data) {
      return rpc_nfs4_null_async(rpc, reply, data);
    };
    if (line.Do(null3, deadline)) return {};
    const std::string refusal = line.error();
    Line second;
    connected = Connect(second, url, address, deadline);
    if (connected.ok() && second.Do(null4, deadline)) {
      return Status(Code::kInvalid,
                    "the server speaks NFSv4 only, and nfs:// is NFSv3; mount the share and give "
                    "the path: " +
                        MountLine(url, "/mnt/checkpoints"));
    }
    return Status(Code::kUnavailable, "no NFSv3 server there: " + refusal);
  }
}

Status MountStatus(const NfsUrl& url, mountstat3 status) {
  const std::string says =
      "the server says " + std::string(mountstat3_to_str(status)) + " to " + url.path;
  const std::string exports = "`showmount -e " + url.host + "` lists its exports";
  switch (status) {
    case MNT3ERR_PERM:
    case MNT3ERR_ACCES:
      return Status(Code::kDenied,
                    says +
                        ": the folder is not there, or this host is not among those that may mount "
                        "it, or it has no root's rights and the export no option 'insecure'; " +
                        exports);
    case MNT3ERR_NOENT:
    case MNT3ERR_NOTDIR:
      return Status(Code::kNotFound, says + ": make the folder there; " + exports);
    default:
      return Status(Code::kUnavailable, says);
  }
}

Result<FileHandle> Mount(const NfsUrl& url, const std::string& address, TimePoint deadline) {
  Line line;
  const auto connect = [&](rpc_context* rpc, rpc_cb reply, void* data) {
    if (url.mountport == 0) {
      return rpc_connect_program_async(rpc, address.c_str(), MOUNT_PROGRAM, MOUNT_V3, reply, data);
    }
    return rpc_connect_port_async(rpc, address.c_str(), url.mountport, MOUNT_PROGRAM, MOUNT_V3,
                                  reply, data);
  };
  if (!line.Do(connect, deadline)) {
    const std::string where = url.mountport == 0
                                  ? "by its portmapper, port 111 (mountport=N does without)"
                                  : "at mountport=" + std::to_string(url.mountport);
    return Status(Code::kUnavailable, "no MOUNT service found " + where + ": " + line.error());
  }
  Status refused;
  FileHandle handle;
  const auto mount = [&](rpc_context* rpc, rpc_cb reply, void* data) {
    return rpc_mount3_mnt_async(rpc, reply, const_cast<char*>(url.path.c_str()), data);
  };
  const bool answered = line.Do(mount, deadline, [&](void* data) {
    const auto& result = *static_cast<mountres3*>(data);
    if (result.fhs_status != MNT3_OK) {
      refused = MountStatus(url, result.fhs_status);
      return;
    }
    const fhandle3& root = result.mountres3_u.mountinfo.fhandle;
    handle.assign(root.fhandle3_val, root.fhandle3_len);
  });
  if (!answered) return Status(Code::kUnavailable, "MOUNT " + url.path + ": " + line.error());
  RETURN_IF_ERROR(refused);
  return handle;
}

}  // namespace

Result<MountedFolder> MountFolder(const NfsUrl& url) {
  const TimePoint deadline =
      RealClock().Now() + std::min<Duration>(kPatience, Duration(url.timeout));
  auto address = Resolve(url);
  if (!address.ok()) return std::move(address).status();
  RETURN_IF_ERROR(CheckVersion(url, *address, deadline));
  auto handle = Mount(url, *address, deadline);
  if (!handle.ok()) return std::move(handle).status();
  return MountedFolder{.handle = *std::move(handle), .address = *std::move(address)};
}

}  // namespace muster::checkpoint
