#include "launcher/cli/embedded_posix.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

#include "runtime/base/owner_posix.h"
#include "runtime/base/text.h"
#include "runtime/base/tls_openssl.h"

namespace muster {
namespace {

constexpr char kPrivatePrefix[] = "run-";

// Without waiting for the disk: what lies in a private cluster's state does not outlive a crash.
Status WriteQuickly(const std::string& path, std::string_view bytes) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return ErrnoStatus("open " + path, errno);
  return WriteAll(fd.get(), bytes.data(), bytes.size());
}

// Writes a cluster's files, with the care that its kind asks for.
class Writer {
 public:
  Writer(const std::string& state, const ClusterDescription& cluster)
      : quick_(cluster.is_private), ca_(ClusterPaths{.state = state}.Ca()) {}

  Status Write(const std::string& path, const std::string& text) const {
    return quick_ ? WriteQuickly(path, text) : WriteFileAtomically(path, text);
  }

  Status Save(const std::string& name, const Credentials& credentials) const {
    if (!quick_) return SaveCredentials(ca_, name, credentials);
    if (access((ca_ + "/ca.pem").c_str(), F_OK) != 0) {
      RETURN_IF_ERROR(WriteQuickly(ca_ + "/ca.pem", credentials.ca));
    }
    RETURN_IF_ERROR(WriteQuickly(ca_ + "/" + name + ".pem", credentials.certificate));
    return WriteQuickly(ca_ + "/" + name + ".key", credentials.key);
  }

  // An authority of its own, which a private cluster need not keep.
  Result<Authority> MakeOrLoadAuthority(const std::string& cluster) const {
    RETURN_IF_ERROR(MakeFolders(ca_, 0700));
    auto authority = LoadAuthority(ca_);
    if (authority.ok()) return authority;
    authority = MakeAuthority(cluster, {.from = RealClock().Wall()});
    if (authority.ok() && !quick_) RETURN_IF_ERROR(SaveAuthority(ca_, *authority));
    return authority;
  }

 private:
  const bool quick_;
  const std::string ca_;
};

Status IssueTo(const Writer& writer, const Authority& authority, const Identity& identity,
               const std::string& name) {
  const auto credentials = Issue(authority, identity, {.from = RealClock().Wall()});
  if (!credentials.ok()) return credentials.status();
  return writer.Save(name, *credentials);
}

// Takes the lock; what an earlier life of a named cluster left is out of date.
Status TakeOver(const std::string& state, Embedded& embedded) {
  auto lock = LockCluster(state, /*alone=*/true);
  if (!lock.ok()) return std::move(lock).status();
  embedded.lock = *std::move(lock);
  if (unlink(AddressFile(state).c_str()) != 0 && errno != ENOENT) {
    return ErrnoStatus("remove " + AddressFile(state), errno);
  }
  return {};
}

}  // namespace

Status MakeCertificates(const std::string& state, const ClusterDescription& cluster,
                        const std::vector<NodeName>& nodes) {
  const Writer writer(state, cluster);
  const auto authority = writer.MakeOrLoadAuthority(cluster.name);
  if (!authority.ok()) return authority.status();
  RETURN_IF_ERROR(IssueTo(writer, *authority, CoordinatorIdentity(), kCoordinatorCredentials));
  for (const NodeName& node : nodes) {
    RETURN_IF_ERROR(IssueTo(writer, *authority, NodeIdentity(node), NodeCredentials(node)));
  }
  const Owner owner = CallerOwner();
  return IssueTo(writer, *authority, UserIdentity(owner, /*is_operator=*/true),
                 UserCredentials(owner.uid));
}

Status MakeUserCertificate(const std::string& state, const Owner& user) {
  const std::string ca = ClusterPaths{.state = state}.Ca();
  const auto authority = LoadAuthority(ca);
  if (!authority.ok()) return authority.status();
  const std::string name = UserCredentials(user.uid);
  const auto credentials =
      Issue(*authority, UserIdentity(user, /*is_operator=*/false), {.from = RealClock().Wall()});
  if (!credentials.ok()) return credentials.status();
  RETURN_IF_ERROR(SaveCredentials(ca, name, *credentials));
  for (const std::string& file : {ca + "/" + name + ".pem", ca + "/" + name + ".key"}) {
    if (chown(file.c_str(), user.uid, user.gid) != 0) return ErrnoStatus("chown " + file, errno);
  }
  // To be passed, and no more.
  for (const auto& [path, mode] : {std::pair<std::string, mode_t>{state, 0711},
                                   {ca, 0711},
                                   {ca + "/ca.pem", 0644},
                                   {DescriptionFile(state), 0644}}) {
    if (chmod(path.c_str(), mode) != 0) return ErrnoStatus("chmod " + path, errno);
  }
  return {};
}

std::string NewShortId() {
  const std::string bytes = RandomBytes(4);
  return ToHex(std::as_bytes(std::span(bytes)));
}

bool IsPrivateName(const std::string& name) {
  return name.rfind(kPrivatePrefix, 0) == 0;
}

Result<Embedded> MakeEmbedded(const EmbeddedPlan& plan) {
  auto root = StateRoot();
  if (!root.ok()) return std::move(root).status();
  RETURN_IF_ERROR(MakeOwnFolder(*root).While("making the state folder"));
  Embedded embedded;
  ClusterDescription& cluster = embedded.cluster;
  cluster.short_id = plan.short_id.empty() ? NewShortId() : plan.short_id;
  cluster.is_private = plan.name.empty();
  cluster.name = cluster.is_private ? kPrivatePrefix + cluster.short_id : plan.name;
  cluster.nodes = plan.nodes;
  cluster.slots = plan.slots;
  cluster.keeper_pid = getpid();
  cluster.keeper_start = ProcessStart(getpid()).value_or(0);
  cluster.started_us =
      std::chrono::duration_cast<std::chrono::microseconds>(RealClock().Wall().time_since_epoch())
          .count();
  embedded.state = *root + "/" + cluster.name;
  RETURN_IF_ERROR(MakeOwnFolder(embedded.state).While("making the state folder"));
  RETURN_IF_ERROR(TakeOver(embedded.state, embedded));
  auto runtime = MakeRuntimeFolder(cluster.short_id);
  if (!runtime.ok()) return std::move(runtime).status();
  cluster.runtime = *std::move(runtime);
  const ClusterPaths paths = PathsOf(embedded.state, cluster);
  Status made = CheckSocketPaths(paths, EmbeddedNode(cluster.nodes - 1));
  const Writer writer(embedded.state, cluster);
  std::vector<NodeName> nodes;
  for (std::uint32_t i = 0; i < cluster.nodes; ++i) nodes.push_back(EmbeddedNode(i));
  if (made.ok()) {
    made = MakeCertificates(embedded.state, cluster, nodes).While("making the certificates");
  }
  if (made.ok()) made = writer.Write(ClusterYaml(embedded.state), EmbeddedYaml(cluster));
  if (made.ok()) made = writer.Write(DescriptionFile(embedded.state), ToJson(cluster));
  if (made.ok()) return embedded;
  LeaveCluster(std::move(embedded.lock), embedded.state, cluster, /*keep_logs=*/false);
  return made;
}

Result<ClusterDescription> DescribeNode(const std::string& state) {
  ClusterDescription cluster;
  const auto found = LoadCluster(state);
  if (found.ok()) {
    cluster = found->cluster;
  } else if (found.status().code() == Code::kNotFound) {
    cluster.name = "node";
    cluster.short_id = NewShortId();
  } else {
    return found.status();
  }
  auto runtime = MakeRuntimeFolder(cluster.short_id, /*for_all=*/cluster.keeper_pid == 0);
  if (!runtime.ok()) return std::move(runtime).status();
  if (cluster.runtime == *runtime) return cluster;
  cluster.runtime = *std::move(runtime);
  RETURN_IF_ERROR(WriteFileAtomically(DescriptionFile(state), ToJson(cluster), 0644));
  return cluster;
}

std::vector<KeptPart> PartsOf(const std::string& state, const ClusterDescription& cluster) {
  const std::string fd = std::to_string(kKeeperFd);
  const bool root = getuid() == 0;
  std::vector<KeptPart> parts = {
      {.name = "coordinator",
       .argv = {"coordinator", "--config", ClusterYaml(state), "--state", state, "--keeper-fd", fd},
       .log = state + "/coordinator.log",
       .disposable = cluster.is_private}};
  for (std::uint32_t i = 0; i < cluster.nodes; ++i) {
    const NodeName node = EmbeddedNode(i);
    parts.push_back({.name = "agent " + node,
                     .argv = {"agent", "--state", state, "--node", node, "--slots",
                              std::to_string(cluster.slots), "--embedded", "--keeper-fd", fd},
                     .log = state + "/agent-" + node + ".log"});
  }
  for (KeptPart& part : parts) {
    if (root) part.argv.emplace_back("--allow-root");
  }
  return parts;
}

Status AwaitEndpoint(const std::string& state, Duration patience,
                     const std::vector<int>& abort_fds) {
  const UniqueFd watch(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
  if (!watch.valid() ||
      inotify_add_watch(watch.get(), state.c_str(), IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
    return ErrnoStatus("watching " + state, errno);
  }
  const TimePoint deadline = RealClock().Now() + patience;
  while (access(AddressFile(state).c_str(), R_OK) != 0) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - RealClock().Now());
    if (left.count() <= 0) return Status(Code::kDeadline, "the coordinator does not listen");
    std::vector<pollfd> waits = {{.fd = watch.get(), .events = POLLIN, .revents = 0}};
    for (const int fd : abort_fds) waits.push_back({.fd = fd, .events = POLLIN, .revents = 0});
    const int ms = static_cast<int>(std::min<std::int64_t>(left.count(), 1 << 30));
    if (poll(waits.data(), waits.size(), ms) < 0 && errno != EINTR) {
      return ErrnoStatus("poll", errno);
    }
    for (std::size_t i = 1; i < waits.size(); ++i) {
      if (waits[i].revents != 0) return Status(Code::kAborted, "waiting for the coordinator");
    }
    std::array<char, 4096> events{};
    while (read(watch.get(), events.data(), events.size()) > 0) {
    }
  }
  return {};
}

}  // namespace muster
