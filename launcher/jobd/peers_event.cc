#include "launcher/jobd/peers_event.h"

#include <event2/bufferevent_ssl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "runtime/base/file_posix.h"
#include "runtime/base/log.h"

namespace muster {
namespace {

constexpr timeval kHandshake{.tv_sec = 2, .tv_usec = 0};
// What an address has before the next is tried beside it.
constexpr timeval kHeadStart{.tv_sec = 0, .tv_usec = 250000};
constexpr timeval kBetweenRounds{.tv_sec = 0, .tv_usec = 100000};
constexpr std::ptrdiff_t kStrangersMax = 256;

bufferevent* NewStream(event_base* base, int fd, SSL* session, bool server) {
  bufferevent* stream = bufferevent_openssl_socket_new(
      base, fd, session, server ? BUFFEREVENT_SSL_ACCEPTING : BUFFEREVENT_SSL_CONNECTING,
      BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
  CHECK(stream != nullptr);
  bufferevent_set_timeouts(stream, &kHandshake, &kHandshake);
  return stream;
}

void SendAtOnce(int fd) {
  const int on = 1;
  if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0) {
    Log(LogLevel::kWarning, "TCP_NODELAY: " + std::string(std::strerror(errno)));
  }
}

std::string AddressText(const sockaddr_storage& address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    evutil_inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in&>(address).sin_addr, text,
                     sizeof text);
  } else if (address.ss_family == AF_INET6) {
    evutil_inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr, text,
                     sizeof text);
  }
  const std::string whole = text;
  return whole.rfind("::ffff:", 0) == 0 ? whole.substr(7) : whole;
}

std::string EndOf(int fd, int (*which)(int, sockaddr*, socklen_t*)) {
  sockaddr_storage address{};
  socklen_t size = sizeof address;
  if (which(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) return "";
  return AddressText(address);
}

// On every address: both families where there are both.
UniqueFd BoundSocket() {
  constexpr int kKind = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;
  const int off = 0;
  UniqueFd six(socket(AF_INET6, kKind, 0));
  const sockaddr_in6 any_six{.sin6_family = AF_INET6, .sin6_addr = in6addr_any};
  if (six.valid() && setsockopt(six.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0 &&
      bind(six.get(), reinterpret_cast<const sockaddr*>(&any_six), sizeof any_six) == 0) {
    return six;
  }
  UniqueFd four(socket(AF_INET, kKind, 0));
  const sockaddr_in any_four{.sin_family = AF_INET};
  if (four.valid() &&
      bind(four.get(), reinterpret_cast<const sockaddr*>(&any_four), sizeof any_four) != 0) {
    four.Reset();
  }
  return four;
}

bool Proven(const FrameChannel& channel) {
  return PskContext::Proven(bufferevent_openssl_get_ssl(channel.stream()));
}

}  // namespace

struct Peers::Search {
  std::vector<std::string> addresses;
  std::uint16_t port = 0;
  peer::Hello hello;
  TimePoint deadline;
  std::size_t next = 0;                                        // Of the addresses, in this round.
  std::string why;                                             // What became of each in this round.
  std::map<std::size_t, std::unique_ptr<FrameChannel>> tries;  // By address.
  event* again = nullptr;

  Search() = default;
  Search(const Search&) = delete;
  Search& operator=(const Search&) = delete;
  ~Search() {
    if (again != nullptr) event_free(again);
  }
};

Peers::Peers(event_base* base, Callbacks callbacks)
    : base_(base), callbacks_(std::move(callbacks)) {}

Peers::~Peers() {
  Drop();
  if (listener_ != nullptr) evconnlistener_free(listener_);
}

Status Peers::SetKey(JobId job, const std::string& key) {
  if (psk_ != nullptr && job == job_ && key == key_) return {};
  Result<std::unique_ptr<PskContext>> made = PskContext::Make("job-" + std::to_string(job), key);
  if (!made.ok()) return made.status();
  Drop();  // They refer to the old context.
  job_ = job;
  key_ = key;
  psk_ = *std::move(made);
  return {};
}

Result<std::uint16_t> Peers::Listen() {
  if (listener_ != nullptr) return port_;
  UniqueFd fd = BoundSocket();
  if (fd.valid()) {
    listener_ = evconnlistener_new(
        base_, OnAccept, this, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, SOMAXCONN, fd.get());
  }
  if (listener_ == nullptr) return ErrnoStatus("listen for the job's other daemons", errno);
  fd.Release();
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  CHECK(getsockname(evconnlistener_get_fd(listener_), reinterpret_cast<sockaddr*>(&bound), &size) ==
        0);
  port_ = ntohs(bound.ss_family == AF_INET6 ? reinterpret_cast<sockaddr_in6&>(bound).sin6_port
                                            : reinterpret_cast<sockaddr_in&>(bound).sin_port);
  return port_;
}

void Peers::OnAccept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void* self_pointer) {
  auto* self = static_cast<Peers*>(self_pointer);
  Connection connection{.address = EndOf(fd, getpeername)};
  const auto strangers = std::count_if(self->connections_.begin(), self->connections_.end(),
                                       [](const auto& item) { return !item.second.admitted; });
  if (self->psk_ == nullptr || strangers >= kStrangersMax) {
    Log(LogLevel::kWarning,
        "peer=" + connection.address + " refused: " +
            (self->psk_ == nullptr ? "there is no job yet" : "too many that have not shown a key"));
    close(fd);
    return;
  }
  SendAtOnce(fd);
  const std::uint64_t id = self->next_id_++;
  connection.channel = std::make_unique<FrameChannel>(
      NewStream(self->base_, fd, self->psk_->NewServer(), /*server=*/true), self->CallbacksOf(id));
  self->connections_.emplace(id, std::move(connection));
}

FrameChannel::Callbacks Peers::CallbacksOf(std::uint64_t id) {
  return {.frame = [this, id](std::string_view body) { Receive(id, body); },
          .ended = [this, id](const std::string& why) { Lose(id, why); }};
}

void Peers::Receive(std::uint64_t id, std::string_view body) {
  const Connection& connection = connections_.at(id);
  Result<std::optional<peer::Message>> message = DecodeVariant<peer::Message>(body);
  if (!message.ok()) return Lose(id, message.status().message());
  if (!connection.admitted) {
    return Admit(id, message->has_value() ? std::get_if<peer::Hello>(&**message) : nullptr);
  }
  if (message->has_value()) callbacks_.said(connection.host_index, **message);
}

// The first frame must be a Hello of this job.
void Peers::Admit(std::uint64_t id, const peer::Hello* hello) {
  Connection& connection = connections_.at(id);
  if (!Proven(*connection.channel)) return Lose(id, "it did not show the job's key");
  if (hello == nullptr || hello->job != job_ || hello->host_index == 0) {
    return Lose(id, "its first message is no Hello of job " + std::to_string(job_));
  }
  connection.admitted = true;
  connection.host_index = hello->host_index;
  connection.attempt = hello->attempt;
  head_address_ = EndOf(bufferevent_getfd(connection.channel->stream()), getsockname);
  own_address_ = head_address_;
  bufferevent_set_timeouts(connection.channel->stream(), nullptr, nullptr);
  callbacks_.follower_connected(hello->host_index, hello->attempt);
}

void Peers::Lose(std::uint64_t id, const std::string& why) {
  const auto found = connections_.find(id);
  const Connection lost = std::move(found->second);
  connections_.erase(found);
  if (!lost.admitted) {
    return Log(LogLevel::kWarning, "peer=" + lost.address + " refused: " + why);
  }
  Log(LogLevel::kInfo, "attempt=" + std::to_string(lost.attempt) +
                           " host=" + std::to_string(lost.host_index) + " connection lost: " + why);
  callbacks_.gone(lost.host_index, lost.attempt);
}

void Peers::ConnectToHead(const std::vector<std::string>& addresses, std::uint16_t port,
                          const peer::Hello& hello, Duration within) {
  std::erase_if(connections_, [](const auto& item) {
    return item.second.admitted && item.second.host_index == 0;
  });
  search_ = std::make_unique<Search>();
  search_->addresses = addresses;
  search_->port = port;
  search_->hello = hello;
  search_->deadline = RealClock().Now() + within;
  search_->again = evtimer_new(
      base_, [](evutil_socket_t, short, void* self) { static_cast<Peers*>(self)->TryNext(); },
      this);
  CHECK(search_->again != nullptr);
  TryNext();
}

void Peers::TryNext() {
  Search& search = *search_;
  if (search.next == search.addresses.size()) {
    if (!search.tries.empty()) return;  // The last of them to fail begins the next round.
    if (search.addresses.empty() || RealClock().Now() >= search.deadline) {
      const std::string why = search.why.empty() ? "the head has no address" : search.why;
      search_.reset();
      return callbacks_.head_unreachable(why);
    }
    search.next = 0;
    search.why.clear();
    evtimer_add(search.again, &kBetweenRounds);
    return;
  }
  const std::size_t which = search.next++;
  const std::string& address = search.addresses[which];
  const bool six = address.find(':') != std::string::npos;
  const std::string target =
      (six ? "[" + address + "]" : address) + ":" + std::to_string(search.port);
  sockaddr_storage to{};
  int size = sizeof to;
  if (evutil_parse_sockaddr_port(target.c_str(), reinterpret_cast<sockaddr*>(&to), &size) != 0) {
    return Failed(which, "not an IP address");
  }
  const int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return Failed(which, std::strerror(errno));
  SendAtOnce(fd);
  bufferevent* stream = NewStream(base_, fd, psk_->NewClient(), /*server=*/false);
  search.tries[which] = std::make_unique<FrameChannel>(
      stream, FrameChannel::Callbacks{
                  .frame = [](std::string_view) {},
                  .ended = [this, which](const std::string& why) { Failed(which, why); },
                  .connected = [this, which] { Found(which); }});
  evtimer_add(search.again, &kHeadStart);
  if (bufferevent_socket_connect(stream, reinterpret_cast<sockaddr*>(&to), size) != 0) {
    Failed(which, std::strerror(errno));
  }
}

void Peers::Failed(std::size_t which, const std::string& why) {
  Search& search = *search_;
  search.tries.erase(which);
  search.why += (search.why.empty() ? "" : "; ") + search.addresses[which] + " port " +
                std::to_string(search.port) + ": " + why;
  constexpr timeval kAtOnce{};
  evtimer_add(search.again, &kAtOnce);
}

void Peers::Found(std::size_t which) {
  Search& search = *search_;
  std::unique_ptr<FrameChannel> channel = std::move(search.tries.at(which));
  if (!Proven(*channel)) return Failed(which, "it did not show the job's key");
  const std::string own = EndOf(bufferevent_getfd(channel->stream()), getsockname);
  if (own == search.addresses[which] && search.port == port_) {
    return Failed(which, "it leads back to this node");
  }
  head_address_ = search.addresses[which];
  own_address_ = own;
  bufferevent_set_timeouts(channel->stream(), nullptr, nullptr);
  const std::uint64_t id = next_id_++;
  channel->SetCallbacks(CallbacksOf(id));
  channel->SendMessage(peer::Message(search.hello));
  connections_.emplace(id, Connection{.channel = std::move(channel),
                                      .address = head_address_,
                                      .admitted = true,
                                      .host_index = 0,
                                      .attempt = search.hello.attempt});
  search_.reset();
  callbacks_.head_connected();
}

void Peers::Send(std::uint32_t host_index, const peer::Message& message) {
  for (auto item = connections_.rbegin(); item != connections_.rend(); ++item) {
    const Connection& connection = item->second;
    if (!connection.admitted || connection.host_index != host_index) continue;
    return connection.channel->SendMessage(message);
  }
}

void Peers::Drop() {
  search_.reset();
  connections_.clear();
}

bool Peers::flushed() const {
  return std::all_of(connections_.begin(), connections_.end(),
                     [](const auto& item) { return item.second.channel->flushed(); });
}

}  // namespace muster
