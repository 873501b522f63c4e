#include "launcher/cli/terminal_posix.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <ctime>

#include "launcher/cli/exit_status.h"
#include "launcher/cli/render.h"

namespace muster {

Status WriteOut(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = write(fd, bytes.data(), bytes.size());
    if (n >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(n));
    } else if (errno == EAGAIN) {
      pollfd wait = {.fd = fd, .events = POLLOUT, .revents = 0};
      if (poll(&wait, 1, -1) < 0 && errno != EINTR) return ErrnoStatus("poll", errno);
    } else if (errno != EINTR) {
      return ErrnoStatus("write", errno);
    }
  }
  return {};
}

void Print(const std::string& text) {
  if (!WriteOut(STDOUT_FILENO, text).ok()) return;  // Nobody reads it.
}

void Complain(const std::string& text) {
  if (!WriteOut(STDERR_FILENO, text).ok()) return;
}

bool IsTerminal(int fd) {
  return isatty(fd) == 1;
}

std::int64_t UtcOffsetSeconds() {
  const std::time_t now = std::chrono::system_clock::to_time_t(
      std::chrono::floor<std::chrono::seconds>(RealClock().Wall()));
  std::tm parts{};
  localtime_r(&now, &parts);
  return parts.tm_gmtoff;
}

int Fail(const Status& failure, bool json) {
  return Fail(failure, json, ExitStatusOf(failure.code()));
}

int Fail(const Status& failure, bool json, int exit) {
  if (json) Print(FailureJson(failure, exit));
  Complain("muster: " + failure.message() + "\n");
  return exit;
}

Result<ClientConfig> ClientConfigOf(const std::string& state) {
  const ClusterPaths paths = {.state = state};
  auto credentials = LoadCredentials(paths.Ca(), UserCredentials(getuid()));
  if (!credentials.ok()) {
    return Status(Code::kDenied, "no certificate for uid " + std::to_string(getuid()) + " (" +
                                     credentials.status().message() +
                                     "); ask whoever runs the cluster for one: `muster init --user "
                                     "NAME` makes it");
  }
  ClientConfig config;
  config.address_file = AddressFile(state);
  config.credentials = *std::move(credentials);
  return config;
}

Result<ClientConfig> FindClient(const Common& common) {
  const auto found = ChooseCluster(common.cluster);
  if (!found.ok()) return Status(Code::kUnavailable, found.status().message());
  auto config = ClientConfigOf(found->state);
  // A cluster whose keeper is dead will not come back by itself.
  const bool orphan = found->cluster.keeper_pid != 0 && !found->alive;
  if (config.ok() && orphan) config->patience = std::chrono::seconds(1);
  return config;
}

}  // namespace muster
