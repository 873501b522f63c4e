#include "launcher/jobd/pmix_servers_event.h"

#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "launcher/jobd/spawn_posix.h"
#include "runtime/base/lean_start.h"
#include "runtime/base/log.h"

namespace muster {

PmixServers::PmixServers(event_base* base, std::string folder, NodeName node, Callbacks callbacks)
    : base_(base),
      folder_(std::move(folder)),
      node_(std::move(node)),
      callbacks_(std::move(callbacks)) {}

PmixServers::~PmixServers() {
  for (const pid_t pid : pids()) kill(pid, SIGKILL);
}

Result<std::unique_ptr<PmixServers::Server>> PmixServers::StartOne() {
  auto server = std::make_unique<Server>();
  server->folder = folder_ + "/pmix-" + std::to_string(started_++);
  RETURN_IF_ERROR(MakeFolders(server->folder));
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    return ErrnoStatus("socketpair", errno);
  }
  const UniqueFd theirs(ends[1]);
  UniqueFd ours(ends[0]);
  Spawn spawn = SelfSpawn({"pmix", server->folder, node_, std::to_string(getpid())});
  for (const LeanSetting& setting : kLeanHwloc) {
    spawn.environment.push_back(std::string(setting.name) + "=" + setting.value);
  }
  spawn.inherited = theirs.get();
  Result<pid_t> pid = Start(spawn);
  if (!pid.ok()) return std::move(pid).status().While("starting the PMIx helper");
  server->pid = *pid;
  evutil_make_socket_nonblocking(ours.get());
  Server* self = server.get();
  server->channel = std::make_unique<FrameChannel>(
      base_, ours.Release(),
      FrameChannel::Callbacks{
          .frame = [this, self](std::string_view body) { Hear(self, body); },
          .ended = [this, self](const std::string&) { Lost(self, "it closed its socket"); }});
  return server;
}

void PmixServers::StartSpare() {
  if (spare_ != nullptr) return;
  Result<std::unique_ptr<Server>> server = StartOne();
  if (server.ok()) {
    spare_ = *std::move(server);
  } else {
    Log(LogLevel::kWarning, "no spare PMIx helper: " + server.status().message());
  }
}

void PmixServers::Register(const pmix::Register& order) {
  CHECK(current_ == nullptr);
  if (spare_ == nullptr) StartSpare();
  if (spare_ == nullptr) return callbacks_.lost("the PMIx helper cannot be started here");
  current_ = std::move(spare_);
  if (current_->ready) {
    current_->channel->SendMessage(pmix::ToHelper(order));
  } else {
    order_ = order;
  }
}

void PmixServers::FinishFence(const pmix::FenceDone& done) {
  if (current_ != nullptr) current_->channel->SendMessage(pmix::ToHelper(done));
}

void PmixServers::Hear(Server* server, std::string_view body) {
  auto message = DecodeVariant<pmix::FromHelper>(body);
  if (!message.ok()) return Lost(server, message.status().message());
  if (message->has_value()) HearOne(server, **message);
}

void PmixServers::HearOne(Server* server, const pmix::FromHelper& message) {
  if (std::holds_alternative<pmix::Ready>(message)) {
    server->ready = true;
    if (server != current_.get() || !order_) return;
    server->channel->SendMessage(pmix::ToHelper(*order_));
    order_.reset();
    return;
  }
  if (server != current_.get()) return;  // Of an attempt that is over.
  if (const auto* registered = std::get_if<pmix::Registered>(&message)) {
    if (!registered->error.empty()) return Lost(server, registered->error);
    callbacks_.registered(*registered);
  } else if (const auto* fence = std::get_if<pmix::FenceAsked>(&message)) {
    callbacks_.fence(*fence);
  } else if (const auto* connected = std::get_if<pmix::RankConnected>(&message)) {
    callbacks_.connected(connected->rank);
  } else if (const auto* aborted = std::get_if<pmix::RankAborted>(&message)) {
    callbacks_.aborted(*aborted);
  }
}

// Its end is seen twice, by its socket and by its exit, in either order.
void PmixServers::Lost(Server* server, const std::string& why) {
  if (server == current_.get()) {
    Kill(std::move(current_));
    callbacks_.lost("the PMIx helper was lost: " + why);
  } else if (server == spare_.get()) {
    Log(LogLevel::kWarning, "the spare PMIx helper was lost: " + why);
    Kill(std::move(spare_));
  }
}

void PmixServers::Kill(std::unique_ptr<Server> server) {
  if (server == nullptr) return;
  if (!server->reaped) kill(server->pid, SIGKILL);
  server->channel.reset();
  dying_.push_back(std::move(server));
}

void PmixServers::Drop() {
  order_.reset();
  Kill(std::move(current_));
}

bool PmixServers::Reaped(pid_t pid) {
  for (Server* server : {current_.get(), spare_.get()}) {
    if (server == nullptr || server->pid != pid) continue;
    server->reaped = true;
    Lost(server, "it ended");
    break;
  }
  const auto found = std::find_if(dying_.begin(), dying_.end(),
                                  [&](const auto& server) { return server->pid == pid; });
  if (found == dying_.end()) return false;
  callbacks_.unused((*found)->folder);
  dying_.erase(found);
  return true;
}

std::set<pid_t> PmixServers::pids() const {
  std::set<pid_t> pids;
  if (spare_ != nullptr) pids.insert(spare_->pid);
  if (current_ != nullptr) pids.insert(current_->pid);
  for (const auto& server : dying_) pids.insert(server->pid);
  return pids;
}

std::string PmixServers::folder() const {
  return current_ == nullptr ? "" : current_->folder;
}

}  // namespace muster
