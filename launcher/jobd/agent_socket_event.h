// Where the jobd listens for its agent: a unix socket that takes one agent at a time, the newest.
//
// Only root and the jobd's own user are let in.  The loop's thread only; callbacks come from the
// loop.
#pragma once

#include <event2/event.h>
#include <event2/listener.h>

#include <functional>
#include <memory>
#include <string>

#include "launcher/jobd/channel_event.h"
#include "runtime/base/result.h"
#include "runtime/base/statuses.h"

namespace muster {

class AgentSocket {
 public:
  struct Callbacks {
    std::function<void()> attached;
    std::function<void()> detached;  // Not when another agent took its place.
    std::function<void(const Order&)> order;
  };

  AgentSocket(event_base* base, Callbacks callbacks);
  ~AgentSocket();  // Removes the socket file.
  AgentSocket(const AgentSocket&) = delete;
  AgentSocket& operator=(const AgentSocket&) = delete;

  // Replaces a socket file that an earlier life left there.
  Status Listen(const std::string& path);

  // Lost when there is no agent: whoever attaches is told everything anew.
  void Send(const Report& report);
  bool flushed() const { return agent_ == nullptr || agent_->flushed(); }

 private:
  static void OnAccept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void* self);
  void Hear(std::string_view body);

  event_base* const base_;
  const Callbacks callbacks_;
  std::string path_;
  evconnlistener* listener_ = nullptr;
  std::unique_ptr<FrameChannel> agent_;
};

}  // namespace muster
