#include "launcher/jobd/doorstep_event.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "runtime/base/file_posix.h"

namespace muster {

Result<evconnlistener*> ListenAt(event_base* base, const std::string& path,
                                 evconnlistener_cb on_accept, void* context) {
  sockaddr_un address{.sun_family = AF_UNIX};
  if (path.size() >= sizeof address.sun_path) {
    return Status(Code::kInvalid, "the socket's path has " + std::to_string(path.size()) +
                                      " bytes, " + std::to_string(sizeof address.sun_path - 1) +
                                      " are allowed: " + path);
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  unlink(path.c_str());
  if (!fd.valid() ||
      bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      chmod(path.c_str(), 0600) != 0) {
    return ErrnoStatus("bind " + path, errno);
  }
  evconnlistener* listener = evconnlistener_new(
      base, on_accept, context, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 8, fd.get());
  if (listener == nullptr) return ErrnoStatus("listen on " + path, errno);
  fd.Release();
  return listener;
}

}  // namespace muster
