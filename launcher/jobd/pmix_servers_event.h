// The PMIx helpers of a jobd: the one of the attempt, and a spare that is up before it is needed.
//
// An attempt that ended leaves its helper nothing to do: it is killed, and its folder removed once
// it is gone.  The loop's thread only; callbacks come from the loop.
#pragma once

#include <event2/event.h>
#include <sys/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "launcher/jobd/channel_event.h"
#include "launcher/jobd/pmix_words.h"
#include "runtime/base/orders.h"
#include "runtime/base/result.h"

namespace muster {

class PmixServers {
 public:
  struct Callbacks {
    std::function<void(const pmix::Registered&)> registered;
    std::function<void(const std::string& why)> lost;  // The attempt's; at most once an attempt.
    std::function<void(const pmix::FenceAsked&)> fence;
    std::function<void(std::uint32_t rank)> connected;
    std::function<void(const pmix::RankAborted&)> aborted;
    std::function<void(const std::string& folder)> unused;  // Of a helper that ended.
  };

  // `folder`: where each helper gets a folder of its own.
  PmixServers(event_base* base, std::string folder, NodeName node, Callbacks callbacks);
  ~PmixServers();
  PmixServers(const PmixServers&) = delete;
  PmixServers& operator=(const PmixServers&) = delete;

  // Nothing happens when there is one.
  void StartSpare();

  // The spare becomes the attempt's; without one, one is started first.  Answered by `registered`
  // or by `lost`.
  void Register(const pmix::Register& order);
  void FinishFence(const pmix::FenceDone& done);

  // The attempt is over.
  void Drop();

  // A child ended: true when it was one of these.
  bool Reaped(pid_t pid);

  // Living helpers: they are no part of what an attempt leaves behind.
  std::set<pid_t> pids() const;

  // The attempt's helper's, for the ranks' session files; empty without one.
  std::string folder() const;

 private:
  struct Server {
    pid_t pid = 0;
    std::string folder;
    std::unique_ptr<FrameChannel> channel;
    bool ready = false;
    bool reaped = false;  // Its pid may belong to another process by now.
  };

  Result<std::unique_ptr<Server>> StartOne();
  void Hear(Server* server, std::string_view body);
  void HearOne(Server* server, const pmix::FromHelper& message);
  void Lost(Server* server, const std::string& why);
  void Kill(std::unique_ptr<Server> server);

  event_base* const base_;
  const std::string folder_;
  const NodeName node_;
  const Callbacks callbacks_;
  std::uint32_t started_ = 0;
  std::unique_ptr<Server> spare_, current_;
  std::vector<std::unique_ptr<Server>> dying_;
  std::optional<pmix::Register> order_;  // Waits for current_ to be ready.
};

}  // namespace muster
