// The links of an attempt's ranks, as sockets: packets in, packets and descriptors out.
//
// Never blocks.  What a rank sends before its Hello with the right token, or what makes no sense,
// closes its link; the rank goes on without.  The loop's thread only; callbacks come from the loop.
#pragma once

#include <event2/event.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "runtime/base/file_posix.h"
#include "runtime/base/link.h"

namespace muster {

class Links {
 public:
  // Hello comes here too, checked.
  using Said = std::function<void(std::uint32_t local_rank, const link::ToJobd&)>;

  Links(event_base* base, Said said);
  ~Links();
  Links(const Links&) = delete;
  Links& operator=(const Links&) = delete;

  // Makes the rank's link; returns the rank's end.
  Result<UniqueFd> Open(std::uint32_t local_rank, const std::string& token);

  // Packets that do not fit into the socket now wait, at most kWaitingMax of them; a rank that lets
  // more pile up loses its link.
  void Send(std::uint32_t local_rank, const link::ToRank& message,
            const std::shared_ptr<UniqueFd>& descriptor = nullptr);

  // Said Hello, and that it looks for Stop.
  bool Polls(std::uint32_t local_rank) const;

  // The rank ended: hears what it said last.
  void HearLast(std::uint32_t local_rank);

  void CloseAll();

 private:
  struct Packet {
    std::string bytes;
    std::shared_ptr<UniqueFd> descriptor;
  };
  struct Link {
    UniqueFd fd;
    std::string token;
    std::uint32_t local_rank = 0;
    Links* owner = nullptr;
    event* readable = nullptr;
    event* writable = nullptr;
    bool spoke = false;
    bool polls = false;
    std::uint64_t seq = 0;
    std::deque<Packet> waiting;
    Link() = default;
    Link(const Link&) = delete;
    Link& operator=(const Link&) = delete;
    ~Link();
  };

  static void OnReadable(evutil_socket_t, short, void* link);
  static void OnWritable(evutil_socket_t, short, void* link);
  void Read(std::uint32_t local_rank);
  bool Hear(Link& link, std::string_view packet);
  void Flush(Link& link);

  event_base* const base_;
  const Said said_;
  std::map<std::uint32_t, std::unique_ptr<Link>> links_;
};

}  // namespace muster
