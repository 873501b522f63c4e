#include "launcher/jobd/agent_socket_event.h"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

#include "launcher/jobd/doorstep_event.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/log.h"

namespace muster {

AgentSocket::AgentSocket(event_base* base, Callbacks callbacks)
    : base_(base), callbacks_(std::move(callbacks)) {}

AgentSocket::~AgentSocket() {
  if (listener_ == nullptr) return;
  evconnlistener_free(listener_);
  unlink(path_.c_str());
}

Status AgentSocket::Listen(const std::string& path) {
  const Result<evconnlistener*> listener = ListenAt(base_, path, OnAccept, this);
  if (!listener.ok()) return listener.status();
  listener_ = *listener;
  path_ = path;
  return {};
}

void AgentSocket::OnAccept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void* pointer) {
  auto* self = static_cast<AgentSocket*>(pointer);
  ucred peer{};
  socklen_t size = sizeof peer;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 ||
      (peer.uid != 0 && peer.uid != geteuid())) {
    Log(LogLevel::kWarning, "uid=" + std::to_string(peer.uid) + " refused as agent");
    close(fd);
    return;
  }
  self->agent_ = std::make_unique<FrameChannel>(
      self->base_, fd,
      FrameChannel::Callbacks{.frame = [self](std::string_view body) { self->Hear(body); },
                              .ended =
                                  [self](const std::string& why) {
                                    Log(LogLevel::kInfo, "the agent is gone: " + why);
                                    self->agent_.reset();
                                    self->callbacks_.detached();
                                  }});
  self->callbacks_.attached();
}

void AgentSocket::Hear(std::string_view body) {
  const auto order = DecodeVariant<Order>(body);
  if (!order.ok()) {
    Log(LogLevel::kError, "an order makes no sense: " + order.status().message());
    return;
  }
  if (order->has_value()) callbacks_.order(**order);
}

void AgentSocket::Send(const Report& report) {
  if (agent_ != nullptr) agent_->SendMessage(report);
}

}  // namespace muster
