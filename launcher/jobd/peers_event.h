// The star of a job's daemons: the head listens, every other host makes one connection to it for an
// attempt.
//
// TLS 1.3 with the job's key on every connection (psk_openssl.h); whoever does not have it is
// logged and dropped, at the latest after two seconds.  The loop's thread only; callbacks come from
// the loop.
#pragma once

#include <event2/event.h>
#include <event2/listener.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "launcher/jobd/channel_event.h"
#include "launcher/jobd/peer.h"
#include "launcher/jobd/psk_openssl.h"
#include "runtime/base/clock.h"

namespace muster {

class Peers {
 public:
  struct Callbacks {
    std::function<void(std::uint32_t host_index, AttemptNumber attempt)> follower_connected;
    std::function<void()> head_connected;
    std::function<void(const std::string& why)> head_unreachable;
    // Closed, not by us.  Host 0: the head.
    std::function<void(std::uint32_t host_index, AttemptNumber attempt)> gone;
    std::function<void(std::uint32_t host_index, const peer::Message&)> said;
  };

  Peers(event_base* base, Callbacks callbacks);
  ~Peers();
  Peers(const Peers&) = delete;
  Peers& operator=(const Peers&) = delete;

  // Before Listen and ConnectToHead; the same again is nothing new.
  Status SetKey(JobId job, const std::string& key);

  // On all addresses, at a port that the kernel chooses, once.  Nobody gets in before SetKey.
  Result<std::uint16_t> Listen();

  // As follower: tries the addresses, again and again until `within` has passed, and introduces
  // itself with `hello` to the first that shows the key.  One that says nothing holds up the next
  // for a moment only.  Replaces a connection or a search that is there.
  void ConnectToHead(const std::vector<std::string>& addresses, std::uint16_t port,
                     const peer::Hello& hello, Duration within);

  // To the newest connection of that host; nothing happens when there is none.
  void Send(std::uint32_t host_index, const peer::Message& message);

  // Closes every connection and ends the search, without a callback.
  void Drop();

  // The head's address, as a follower's connection found it.  Empty: none yet.
  const std::string& head_address() const { return head_address_; }
  // This host's end of it.
  const std::string& own_address() const { return own_address_; }
  bool flushed() const;

 private:
  // Before its Hello a connection belongs to nobody.
  struct Connection {
    std::unique_ptr<FrameChannel> channel;
    std::string address;
    bool admitted = false;
    std::uint32_t host_index = 0;
    AttemptNumber attempt = 0;
  };
  struct Search;  // The way to the head, under way.

  static void OnAccept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void* self);
  FrameChannel::Callbacks CallbacksOf(std::uint64_t id);
  void Receive(std::uint64_t id, std::string_view body);
  void Admit(std::uint64_t id, const peer::Hello* hello);
  void Lose(std::uint64_t id, const std::string& why);
  void TryNext();
  void Failed(std::size_t which, const std::string& why);
  void Found(std::size_t which);

  event_base* const base_;
  const Callbacks callbacks_;
  JobId job_ = 0;
  std::string key_;
  std::unique_ptr<PskContext> psk_;
  evconnlistener* listener_ = nullptr;
  std::uint16_t port_ = 0;
  std::string head_address_, own_address_;
  std::uint64_t next_id_ = 0;
  std::map<std::uint64_t, Connection> connections_;  // A newer one has a higher number.
  std::unique_ptr<Search> search_;
};

}  // namespace muster
