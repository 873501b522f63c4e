#include "launcher/jobd/channel_event.h"

#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <openssl/err.h>

#include "runtime/base/check.h"

namespace muster {

FrameChannel::FrameChannel(bufferevent* stream, Callbacks callbacks)
    : stream_(stream), callbacks_(std::make_shared<Callbacks>(std::move(callbacks))) {
  CHECK(stream_ != nullptr);
  bufferevent_setcb(stream_, OnRead, nullptr, OnEvent, this);
  CHECK(bufferevent_enable(stream_, EV_READ | EV_WRITE) == 0);
}

FrameChannel::FrameChannel(event_base* base, int fd, Callbacks callbacks)
    : FrameChannel(
          bufferevent_socket_new(base, fd, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS),
          std::move(callbacks)) {}

FrameChannel::~FrameChannel() {
  *alive_ = false;
  bufferevent_setcb(stream_, nullptr, nullptr, nullptr, nullptr);
  bufferevent_free(stream_);
}

void FrameChannel::SetCallbacks(Callbacks callbacks) {
  callbacks_ = std::make_shared<Callbacks>(std::move(callbacks));
}

void FrameChannel::Send(std::string_view body) {
  if (ended_) return;
  CHECK(body.size() <= kFrameMax);
  const auto size = static_cast<std::uint32_t>(body.size());
  // One segment: two would be two TLS records, and two packets.
  std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
  frame += body;
  CHECK(bufferevent_write(stream_, frame.data(), frame.size()) == 0);
}

bool FrameChannel::flushed() const {
  return ended_ || evbuffer_get_length(bufferevent_get_output(stream_)) == 0;
}

void FrameChannel::OnRead(bufferevent*, void* self) {
  static_cast<FrameChannel*>(self)->ReadFrames();
}

void FrameChannel::ReadFrames() {
  const std::shared_ptr<bool> alive = alive_;
  evbuffer* input = bufferevent_get_input(stream_);
  std::uint32_t size = 0;
  while (*alive && !ended_ && evbuffer_get_length(input) >= sizeof size) {
    CHECK(evbuffer_copyout(input, &size, sizeof size) == sizeof size);
    if (size > kFrameMax) {
      End("a frame of " + std::to_string(size) + " bytes, " + std::to_string(kFrameMax) +
          " are allowed");
      return;
    }
    if (evbuffer_get_length(input) < sizeof size + size) return;
    std::string body(size, '\0');
    evbuffer_drain(input, sizeof size);
    evbuffer_remove(input, body.data(), body.size());
    const std::shared_ptr<Callbacks> callbacks = callbacks_;
    callbacks->frame(body);
  }
}

void FrameChannel::OnEvent(bufferevent* stream, short what, void* self) {
  auto* channel = static_cast<FrameChannel*>(self);
  if ((what & BEV_EVENT_CONNECTED) != 0) {
    const std::shared_ptr<Callbacks> callbacks = channel->callbacks_;
    callbacks->connected();
    return;
  }
  if ((what & BEV_EVENT_TIMEOUT) != 0) return channel->End("it was silent for too long");
  if ((what & BEV_EVENT_EOF) != 0) return channel->End("it closed the connection");
  const int number = EVUTIL_SOCKET_ERROR();
  std::string error = StreamError(stream);
  if (error.empty() && number != 0) error = evutil_socket_error_to_string(number);
  channel->End(error.empty() ? "the connection broke" : error);
}

void FrameChannel::End(const std::string& why) {
  if (ended_) return;
  ended_ = true;
  bufferevent_disable(stream_, EV_READ | EV_WRITE);
  const std::shared_ptr<Callbacks> callbacks = callbacks_;
  callbacks->ended(why);
}

std::string StreamError(bufferevent* stream) {
  std::string text;
  if (bufferevent_openssl_get_ssl(stream) == nullptr) return text;
  while (const unsigned long error = bufferevent_get_openssl_error(stream)) {
    const char* reason = ERR_reason_error_string(error);
    if (!text.empty()) text += "; ";
    text += reason == nullptr ? "TLS error " + std::to_string(error) : std::string(reason);
  }
  return text;
}

}  // namespace muster
