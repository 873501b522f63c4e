#include "launcher/coordinator/server_grpc.h"

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>
#include <grpcpp/grpcpp.h>

#include <cstring>

#include "launcher/coordinator/agent_service_grpc.h"
#include "launcher/coordinator/cluster_service_grpc.h"
#include "launcher/coordinator/port_posix.h"
#include "runtime/base/log.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr int kMessageMost = 16 << 20;  // A job's environment is in every order.
constexpr int kShutdownMs = 1000;

std::shared_ptr<grpc::ServerCredentials> MutualTls(const Credentials& credentials) {
  grpc::SslServerCredentialsOptions options(
      GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = credentials.ca;
  options.pem_key_cert_pairs.push_back({credentials.key, credentials.certificate});
  return grpc::SslServerCredentials(options);
}

struct HostPort {
  std::string host;
  int port = 0;
};

Result<HostPort> Parse(const std::string& listen) {
  const std::size_t colon = listen.rfind(':');
  const auto port =
      ParseUnsigned(colon == std::string::npos ? std::string() : listen.substr(colon + 1));
  if (colon == 0 || !port || *port > 65535) {
    return Status(Code::kInvalid, "listen is '" + listen + "'; it must be HOST:PORT");
  }
  return HostPort{.host = listen.substr(0, colon), .port = static_cast<int>(*port)};
}

void ToLog(gpr_log_func_args* line) {
  if (line->severity != GPR_LOG_SEVERITY_ERROR) return;
  if (std::strstr(line->message, "No address added") != nullptr) return;  // WhyNoPort() does.
  Log(LogLevel::kWarning, std::string("gRPC: ") + line->message);
}

class Server final : public CoordinatorServer {
 public:
  Server(const CoordinatorConfig& config, Loop& loop, std::uint64_t life)
      : cluster_(config, loop, relays_), agents_(config, loop, relays_, life) {}
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;
  ~Server() override { Shutdown(); }

  bool Bind(const Credentials& credentials, const HostPort& at) {
    grpc::ServerBuilder builder;
    int port = 0;
    // Two coordinators must not share a port without knowing.
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    // A peer whose host died is noticed; peers may ask after us as often.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 5000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
    builder.SetMaxReceiveMessageSize(kMessageMost);
    builder.SetMaxSendMessageSize(kMessageMost);
    builder.AddListeningPort(at.host + ":" + std::to_string(at.port), MutualTls(credentials),
                             &port);
    builder.RegisterService(&cluster_);
    builder.RegisterService(&agents_);
    server_ = builder.BuildAndStart();
    if (!server_ || port == 0) return false;
    const bool everywhere = at.host == "0.0.0.0" || at.host == "[::]";
    address_ = (everywhere ? "127.0.0.1" : at.host) + ":" + std::to_string(port);
    return true;
  }

  const std::string& address() const override { return address_; }

  void Shutdown() override {
    if (!server_) return;
    server_->Shutdown(gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                                   gpr_time_from_millis(kShutdownMs, GPR_TIMESPAN)));
    server_.reset();
  }

 private:
  CallRelays relays_;
  ClusterService cluster_;
  AgentService agents_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace

Result<std::unique_ptr<CoordinatorServer>> CoordinatorServer::Listen(
    const CoordinatorConfig& config, const Credentials& credentials, const std::string& before,
    Loop& loop) {
  const auto wanted = Parse(config.listen);
  if (!wanted.ok()) return wanted.status();
  std::uint64_t life = 0;
  loop.Run([&](Front& front, const Moment&) { life = front.state().lives; });
  std::vector<HostPort> tries;
  if (const auto last = Parse(before); wanted->port == 0 && last.ok()) {
    tries.push_back({.host = wanted->host, .port = last->port});
  }
  tries.push_back(*wanted);
  for (const HostPort& at : tries) {
    auto server = std::make_unique<Server>(config, loop, life);
    if (server->Bind(credentials, at)) return std::unique_ptr<CoordinatorServer>(std::move(server));
  }
  return Status(Code::kUnavailable,
                "cannot listen at " + config.listen + ": " + WhyNoPort(wanted->host, wanted->port));
}

void RouteGrpcLog() {
  gpr_set_log_function(&ToLog);
  grpc_init();  // Never given back: shutting gRPC down would only make the end slower.
}

}  // namespace muster
