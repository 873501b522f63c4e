#include "runtime/checkpoint/nfs_session_nfs.h"

#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "runtime/checkpoint/store_posix.h"

namespace muster::checkpoint {
namespace {

using std::chrono::milliseconds;

constexpr std::size_t kBulk = 256U << 10U;  // From here on a call is worth more connections.
constexpr std::size_t kCallsMax = 64;       // On one connection.
constexpr Duration kPauseFirst = milliseconds(10);
constexpr Duration kPauseMost = milliseconds(1000);
constexpr Duration kBusyPause = milliseconds(100);

// What the other side's kernel has acknowledged and sent.  On a slow link a call is under way long
// before it can be answered.
std::uint64_t BytesMoved(int fd) {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return info.tcpi_bytes_acked + info.tcpi_bytes_received;
}

}  // namespace

nfs_fh3 ToNfs(const FileHandle& handle) {
  nfs_fh3 fh{};
  fh.data.data_len = static_cast<u_int>(handle.size());
  fh.data.data_val = const_cast<char*>(handle.data());
  return fh;
}

FileHandle FromNfs(const nfs_fh3& handle) {
  return {handle.data.data_val, handle.data.data_len};
}

std::string SocketTrouble(int fd, int events) {
  if ((events & (POLLERR | POLLHUP)) == 0) return "";
  int error = 0;
  socklen_t size = sizeof error;
  if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error == 0) {
    return "the server has closed the connection";
  }
  return std::strerror(error);
}

rpc_context* NewContext() {
  rpc_context* rpc = rpc_init_context();
  CHECK(rpc != nullptr);
  constexpr int kGroupsMax = 16;  // Of AUTH_SYS.
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(getgroups(0, nullptr), 0)));
  const int count = getgroups(static_cast<int>(groups.size()), groups.data());
  std::vector<std::uint32_t> sent(groups.begin(),
                                  groups.begin() + std::clamp(count, 0, kGroupsMax));
  rpc_set_auth(rpc, libnfs_authunix_create("muster", geteuid(), getegid(),
                                           static_cast<std::uint32_t>(sent.size()), sent.data()));
  // A server remembers answers by these numbers, also those of the process before this one.
  rpc_set_next_xid(rpc, static_cast<std::uint32_t>(*FreshNonce()));
  return rpc;
}

struct NfsSession::Connection {
  enum class State { kDown, kConnecting, kUp };
  NfsSession* session = nullptr;
  rpc_context* rpc = nullptr;
  State state = State::kDown;
  bool broken = false;  // To be dropped after the call of libnfs that found out.
  TimePoint since;      // Of the state; when up, of the last answer or the first call that waits.
  TimePoint retry_at;
  Duration pause = kPauseFirst;
  std::uint64_t moved = 0;  // When it was last looked at.
  std::size_t calls = 0;
  std::size_t bytes = 0;
};

struct NfsSession::Call {
  Connection& connection;
  std::size_t bytes = 0;
  OnReply on_reply;
};

NfsSession::NfsSession(NfsUrl url, std::string address)
    : url_(std::move(url)), address_(std::move(address)) {
  for (std::uint32_t i = 0; i < url_.nconnect; ++i) {
    connections_.push_back(std::make_unique<Connection>());
    connections_.back()->session = this;
  }
  Begin();
}

NfsSession::~NfsSession() {
  for (auto& connection : connections_) Drop(*connection, "");
}

void NfsSession::OnCall(rpc_context* /*rpc*/, int status, void* data, void* private_data) {
  const std::unique_ptr<Call> call(static_cast<Call*>(private_data));
  Connection& connection = call->connection;
  --connection.calls;
  connection.bytes -= call->bytes;
  connection.session->bytes_ -= call->bytes;
  const bool answered = status == RPC_STATUS_SUCCESS && data != nullptr;
  if (answered) {
    connection.since = RealClock().Now();
    connection.pause = kPauseFirst;
    // Every result of NFSv3 begins with its status.
    if (*static_cast<nfsstat3*>(data) != NFS3ERR_JUKEBOX) {
      connection.session->progress_ = connection.since;
    }
  } else {
    // Broken, or a server that refuses the call as such, which a new connection may mend.
    connection.broken = true;
    if (status == RPC_STATUS_ERROR && data != nullptr) {
      connection.session->last_error_ = static_cast<char*>(data);
    }
  }
  call->on_reply(answered ? data : nullptr);
}

void NfsSession::OnConnect(rpc_context* /*rpc*/, int status, void* data, void* private_data) {
  auto& connection = *static_cast<Connection*>(private_data);
  if (status == RPC_STATUS_SUCCESS) {
    connection.state = Connection::State::kUp;
    connection.since = RealClock().Now();
    return;
  }
  connection.broken = true;
  if (status == RPC_STATUS_ERROR && data != nullptr) {
    connection.session->last_error_ = static_cast<char*>(data);
  }
}

void NfsSession::Connect(Connection& connection) {
  connection.rpc = NewContext();
  connection.state = Connection::State::kConnecting;
  connection.broken = false;
  connection.since = RealClock().Now();
  if (rpc_connect_async(connection.rpc, address_.c_str(), url_.port, OnConnect, &connection) != 0) {
    const char* error = rpc_get_error(connection.rpc);
    Drop(connection, error != nullptr ? error : "cannot connect");
    return;
  }
  fcntl(rpc_get_fd(connection.rpc), F_SETFD, FD_CLOEXEC);
}

void NfsSession::Drop(Connection& connection, const std::string& why) {
  if (connection.rpc == nullptr) return;
  if (!why.empty()) last_error_ = why;
  const bool was_up = connection.state == Connection::State::kUp;
  connection.state = Connection::State::kDown;
  const int fd = rpc_get_fd(connection.rpc);
  rpc_destroy_context(std::exchange(connection.rpc, nullptr));  // Calls back what still waits.
  // libnfs 4.0.0 closes only what is connected; its number may be another file's by now.
  if (!was_up && fd >= 0 && fcntl(fd, F_GETFD) != -1) close(fd);
  connection.broken = false;
  connection.retry_at = RealClock().Now() + (was_up ? Duration(0) : connection.pause);
  connection.pause = std::min(connection.pause * 2, kPauseMost);
}

bool NfsSession::Start(std::size_t bytes, const SendCall& send, OnReply on_reply) {
  if (RealClock().Now() < busy_until_) return false;
  if (bytes >= kBulk) wanted_ = connections_.size();
  Connection* best = nullptr;
  for (auto& connection : connections_) {
    const bool fit = connection->state == Connection::State::kUp && connection->calls < kCallsMax;
    if (fit && (best == nullptr || connection->bytes < best->bytes)) best = connection.get();
  }
  if (best == nullptr) return false;
  if (best->calls == 0) best->since = RealClock().Now();
  ++best->calls;
  best->bytes += bytes;
  bytes_ += bytes;
  auto call = std::make_unique<Call>(
      Call{.connection = *best, .bytes = bytes, .on_reply = std::move(on_reply)});
  if (send(best->rpc, OnCall, call.get()) == 0) {
    static_cast<void>(call.release());  // OnCall's now.
    return true;
  }
  --best->calls;
  best->bytes -= bytes;
  bytes_ -= bytes;
  const char* error = rpc_get_error(best->rpc);
  Drop(*best, error != nullptr ? error : "the call cannot be queued");
  return false;
}

void NfsSession::Begin() {
  const bool owes = std::any_of(connections_.begin(), connections_.end(),
                                [](const auto& connection) { return connection->calls > 0; });
  if (!owes) progress_ = RealClock().Now();
}

void NfsSession::Busy() {
  busy_until_ = RealClock().Now() + kBusyPause;
  last_error_ = "it answers that it is busy";
}

Duration NfsSession::Patience() const {
  return std::clamp<Duration>(Duration(url_.timeout) / 3, milliseconds(500), milliseconds(20'000));
}

bool NfsSession::Overdue(Connection& connection, TimePoint now) const {
  if (connection.state == Connection::State::kDown || now < connection.since + Patience()) {
    return false;
  }
  if (connection.state == Connection::State::kConnecting) return true;
  if (connection.calls == 0) return false;
  const std::uint64_t moved = BytesMoved(rpc_get_fd(connection.rpc));
  if (moved == connection.moved) return true;
  connection.moved = moved;
  connection.since = now;
  return false;
}

TimePoint NfsSession::WakeUp(TimePoint now) const {
  TimePoint wake = progress_ + url_.timeout;
  if (busy_until_ > now) wake = std::min(wake, busy_until_);
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    const Connection& connection = *connections_[i];
    if (connection.state == Connection::State::kDown) {
      if (i < wanted_) wake = std::min(wake, connection.retry_at);
    } else if (connection.state == Connection::State::kConnecting || connection.calls > 0) {
      wake = std::min(wake, connection.since + Patience());
    }
  }
  return wake;
}

void NfsSession::Service(Connection& connection, int events) {
  const std::string trouble = SocketTrouble(rpc_get_fd(connection.rpc), events);
  const int served = rpc_service(connection.rpc, events);
  if (served == 0 && !connection.broken) return;
  const char* error = rpc_get_error(connection.rpc);
  Drop(connection, !trouble.empty()   ? trouble
                   : error != nullptr ? error
                                      : "it closed the connection");
}

Status NfsSession::Turn(Wait how) {
  const TimePoint begin = RealClock().Now();
  if (begin >= progress_ + url_.timeout) {
    for (auto& connection : connections_) Drop(*connection, "");
    return Status(Code::kUnavailable,
                  "no answer from " + ShortText(url_) + " for " +
                      std::to_string(url_.timeout.count()) + " s" +
                      (last_error_.empty() ? "" : " (last: " + last_error_ + ")"));
  }
  std::vector<pollfd> fds;
  std::vector<Connection*> polled;
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    Connection& connection = *connections_[i];
    const bool down = connection.state == Connection::State::kDown;
    if (down && i < wanted_ && begin >= connection.retry_at) Connect(connection);
    if (connection.state == Connection::State::kDown) continue;
    fds.push_back({.fd = rpc_get_fd(connection.rpc),
                   .events = static_cast<short>(rpc_which_events(connection.rpc))});
    polled.push_back(&connection);
  }
  const auto wait = std::chrono::ceil<milliseconds>(WakeUp(begin) - begin);
  poll(fds.data(), fds.size(),
       how == Wait::kNot ? 0 : static_cast<int>(std::clamp<std::int64_t>(wait.count(), 0, 60'000)));
  for (std::size_t i = 0; i < fds.size(); ++i) {
    if (fds[i].revents != 0) Service(*polled[i], fds[i].revents);
  }
  const TimePoint now = RealClock().Now();
  for (auto& connection : connections_) {
    if (Overdue(*connection, now)) Drop(*connection, "the server is silent");
  }
  return {};
}

Result<std::optional<nfsstat3>> NfsSession::Try(const SendCall& send, const OnReply& read) {
  for (;;) {
    struct Outcome {
      bool back = false;
      std::optional<nfsstat3> status;
    };
    const auto outcome = std::make_shared<Outcome>();
    const OnReply reply = [outcome, &read](void* result) {
      outcome->back = true;
      if (result == nullptr) return;
      outcome->status = *static_cast<nfsstat3*>(result);
      if (*outcome->status == NFS3_OK) read(result);
    };
    while (!Start(0, send, reply)) RETURN_IF_ERROR(Turn());
    while (!outcome->back) {
      RETURN_IF_ERROR(Turn());
    }
    if (outcome->status != NFS3ERR_JUKEBOX) return outcome->status;
    Busy();
  }
}

Result<nfsstat3> NfsSession::Ask(const SendCall& send, const OnReply& read) {
  for (;;) {
    const auto answered = Try(send, read);
    if (!answered.ok()) return answered.status();
    if (answered->has_value()) return **answered;
  }
}

}  // namespace muster::checkpoint
