#include "launcher/cli/channel_grpc.h"

#include <grpc/grpc.h>
#include <grpc/support/log.h>
#include <grpc/support/time.h>

#include <algorithm>
#include <cctype>

#include "runtime/base/file_posix.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

constexpr int kMessageMost = 16 << 20;
constexpr std::chrono::seconds kOneCall(10);

// A numeric address spares the resolver, and its thread.
std::string TargetOf(const std::string& address) {
  if (address.starts_with('[')) return "ipv6:" + address;
  const std::string host = address.substr(0, address.rfind(':'));
  const bool numeric = std::all_of(host.begin(), host.end(), [](char c) {
    return c == '.' || std::isdigit(static_cast<unsigned char>(c)) != 0;
  });
  return (numeric ? "ipv4:" : "dns:///") + address;
}

std::shared_ptr<grpc::Channel> Open(const std::string& address, const Credentials& credentials) {
  grpc::SslCredentialsOptions tls;
  tls.pem_root_certs = credentials.ca;
  tls.pem_cert_chain = credentials.certificate;
  tls.pem_private_key = credentials.key;
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(kCoordinatorTlsName);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);  // Ours knows where the coordinator went.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 5000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5000);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetMaxReceiveMessageSize(kMessageMost);
  arguments.SetMaxSendMessageSize(kMessageMost);
  return grpc::CreateCustomChannel(TargetOf(address), grpc::SslCredentials(tls), arguments);
}

void Silent(gpr_log_func_args*) {}

// Once a process.  One reference to gRPC is never given back: shutting it down waits for its
// threads to sleep and wake, which takes longer than everything else that a short command does.
void PrepareGrpc() {
  static const bool kPrepared = [] {
    gpr_set_log_function(&Silent);  // What it would say comes back as a Status.
    grpc_init();
    return true;
  }();
  static_cast<void>(kPrepared);
}

gpr_timespec In(Duration duration) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(duration.count(), GPR_TIMESPAN));
}

}  // namespace

Status FromGrpc(const grpc::Status& status) {
  switch (status.error_code()) {
    case grpc::OK:
      return {};
    case grpc::INVALID_ARGUMENT:
    case grpc::OUT_OF_RANGE:
    case grpc::FAILED_PRECONDITION:
      return {Code::kInvalid, status.error_message()};
    case grpc::NOT_FOUND:
      return {Code::kNotFound, status.error_message()};
    case grpc::ALREADY_EXISTS:
      return {Code::kExists, status.error_message()};
    case grpc::DEADLINE_EXCEEDED:
      return {Code::kDeadline, status.error_message()};
    case grpc::ABORTED:
    case grpc::CANCELLED:
      return {Code::kAborted, status.error_message()};
    case grpc::PERMISSION_DENIED:
    case grpc::UNAUTHENTICATED:
      return {Code::kDenied, status.error_message()};
    case grpc::RESOURCE_EXHAUSTED:
      return {Code::kExhausted, status.error_message()};
    case grpc::DATA_LOSS:
      return {Code::kDataLoss, status.error_message()};
    case grpc::UNIMPLEMENTED:
      return {Code::kUnimplemented, status.error_message()};
    case grpc::INTERNAL:
      return {Code::kInternal, status.error_message()};
    default:
      return {Code::kUnavailable, status.error_message()};
  }
}

bool IsPassing(const Status& status) {
  switch (status.code()) {
    case Code::kUnavailable:
    case Code::kDeadline:
    case Code::kExhausted:
    case Code::kAborted:
    case Code::kInternal:  // gRPC says so of a stream that broke in the middle of a frame.
      return true;
    default:
      return false;
  }
}

bool Backoff::Wait(Mutex& mutex, std::condition_variable_any& wake,
                   const std::function<bool()>& stop) {
  const auto wait = std::chrono::milliseconds(next_ms_);
  next_ms_ = std::min(next_ms_ * 2, kMostMs);
  mutex.lock();
  const bool stopped = wake.wait_for(mutex, wait, stop);
  mutex.unlock();
  return !stopped;
}

Result<std::shared_ptr<ClusterClient::Channel::Stub>> ClusterClient::Channel::Connect() {
  const MutexLock lock(mutex);
  if (stub) return stub;
  PrepareGrpc();
  address = config.address;
  if (address.empty()) {
    auto read = ReadFile(config.address_file);
    if (!read.ok()) return Status(Code::kUnavailable, std::move(read).status().message());
    address = Split(*read, '\n')[0];
  }
  if (address.empty()) return Status(Code::kUnavailable, config.address_file + " is empty");
  stub = v1::Cluster::NewStub(Open(address, config.credentials));
  return stub;
}

void ClusterClient::Channel::Drop(const std::shared_ptr<Stub>& failed) {
  const MutexLock lock(mutex);
  if (stub == failed) stub.reset();
}

Status ClusterClient::Channel::Away(const Status& last) {
  const MutexLock lock(mutex);
  const std::string where = address.empty() ? "" : " at " + address;
  if (last.code() == Code::kExhausted) return last;
  return Status(Code::kUnavailable, "no coordinator answers" + where + ": " + last.message());
}

Status ClusterClient::Channel::Try(
    const std::function<grpc::Status(Stub&, grpc::ClientContext&)>& call) {
  const TimePoint until = RealClock().Now() + config.patience;
  Mutex waiting;
  std::condition_variable_any never;
  for (Backoff backoff;;) {
    Status status;
    if (auto made = Connect(); made.ok()) {
      grpc::ClientContext context;
      context.set_deadline(In(std::max<Duration>(until - RealClock().Now(), kOneCall)));
      status = FromGrpc(call(**made, context));
      if (!IsPassing(status)) return status;
      if (status.code() != Code::kExhausted) Drop(*made);
    } else {
      status = made.status();
    }
    if (RealClock().Now() >= until) return Away(status);
    backoff.Wait(waiting, never, [] { return false; });
  }
}

}  // namespace muster
