// Frames over a stream, on libevent: a 32-bit little-endian length, then a body.
//
// The loop's thread only.  Callbacks come from the loop, never from inside a call of ours; each may
// destroy the channel.
#pragma once

#include <event2/bufferevent.h>

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/base/wire.h"

namespace muster {

inline constexpr std::size_t kFrameMax = 64U << 20U;

class FrameChannel {
 public:
  struct Callbacks {
    std::function<void(std::string_view body)> frame;
    std::function<void(const std::string& why)> ended;  // Once; nothing comes after it.
    std::function<void()> connected = [] {};            // TLS only: the handshake is through.
  };

  // Owns `stream`.
  FrameChannel(bufferevent* stream, Callbacks callbacks);
  // Plain, over a connected descriptor that it owns from now on.
  FrameChannel(event_base* base, int fd, Callbacks callbacks);
  ~FrameChannel();
  FrameChannel(const FrameChannel&) = delete;
  FrameChannel& operator=(const FrameChannel&) = delete;

  // Whom it tells from the next frame on.
  void SetCallbacks(Callbacks callbacks);

  void Send(std::string_view body);
  template <typename Variant>
  void SendMessage(const Variant& message) {
    Send(EncodeVariant(message));
  }

  // Everything that was sent has left this process.
  bool flushed() const;
  bufferevent* stream() const { return stream_; }

 private:
  static void OnRead(bufferevent* stream, void* self);
  static void OnEvent(bufferevent* stream, short what, void* self);
  void ReadFrames();
  void End(const std::string& why);

  bufferevent* const stream_;
  std::shared_ptr<Callbacks> callbacks_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  bool ended_ = false;
};

// Why a stream's last operation failed, as OpenSSL tells it; empty when it has nothing to say.
std::string StreamError(bufferevent* stream);

}  // namespace muster
