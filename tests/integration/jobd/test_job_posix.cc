#include "tests/integration/jobd/test_job_posix.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <set>
#include <thread>

#include "runtime/base/env_posix.h"
#include "runtime/base/status_file.h"
#include "runtime/base/wire.h"

namespace muster {
namespace {

using std::chrono::steady_clock;
constexpr auto kPatience = std::chrono::seconds(30);

void GiveTo(const std::string& path, std::uint32_t uid) {
  if (uid == 0) return;
  EXPECT_EQ(chown(path.c_str(), uid, uid), 0) << path;
}

pid_t StartProgram(const std::vector<std::string>& words, const std::string& log,
                   const std::vector<std::string>& environment, const std::string& group) {
  std::vector<char*> argv, envp;
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  for (const std::string& entry : environment) envp.push_back(const_cast<char*>(entry.c_str()));
  argv.push_back(nullptr);
  envp.push_back(nullptr);
  const pid_t pid = fork();
  if (pid != 0) return pid;
  if (!group.empty() && !EnterGroup(group, 0).ok()) _exit(125);
  dup2(open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644), 2);
  execve(argv[0], argv.data(), envp.data());
  _exit(127);
}

}  // namespace

// ---- a node -------------------------------------------------------------------------------------

TestNode::TestNode(const JobdArguments& arguments, const std::vector<std::string>& prefix)
    : arguments_(arguments) {
  struct stat info {};
  EXPECT_EQ(stat(arguments.shm.c_str(), &info), 0);
  uid_ = info.st_uid;
  std::vector<std::string> words = prefix;
  words.insert(words.end(), {JOBD_PROGRAM, "jobd"});
  for (std::string& word : ToWords(arguments)) words.push_back(std::move(word));
  pid_ = StartProgram(words, arguments.status + ".log",
                      {"PATH=/usr/bin:/bin", "HOME=/", "MUSTER_CLUSTER_COOKIE=test",
                       "MUSTER_TEST_MARK=" + GetEnv("MUSTER_TEST_MARK").value_or(""),
                       "MUSTER_JOB_COOKIE=" + arguments.cookie},
                      arguments.cgroup);
  Connect();
}

TestNode::~TestNode() {
  Kill();
  if (testing::Test::HasFailure()) {
    const auto log = ReadFile(arguments_.status + ".log");
    std::fprintf(stderr, "---- %s said:\n%s", arguments_.node.c_str(),
                 log.ok() ? log->c_str() : "");
  }
  while (KillRound(containment(), {}) != 0)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  while (GroupPopulated(arguments_.cgroup)) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  EXPECT_TRUE(RemoveGroup(arguments_.cgroup).ok());
  for (const std::string& path : {arguments_.shm, arguments_.socket}) {
    EXPECT_TRUE(RemoveTree(path).ok());
  }
}

Containment TestNode::containment() const {
  return {
      .group = arguments_.cgroup, .entry = "MUSTER_JOB_COOKIE=" + arguments_.cookie, .uid = uid_};
}

void TestNode::Connect() {
  sockaddr_un address{.sun_family = AF_UNIX};
  ASSERT_LT(arguments_.socket.size(), sizeof address.sun_path);
  std::memcpy(address.sun_path, arguments_.socket.c_str(), arguments_.socket.size() + 1);
  input_.clear();
  const auto deadline = steady_clock::now() + kPatience;
  do {
    socket_.Reset(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  } while (steady_clock::now() < deadline && waitpid(pid_, nullptr, WNOHANG) == 0);
  FAIL() << "no jobd at " << arguments_.socket << ": " << *ReadFile(arguments_.status + ".log");
}

void TestNode::Send(const Order& order) {
  const std::string body = EncodeVariant(order);
  const auto size = static_cast<std::uint32_t>(body.size());
  std::string frame(reinterpret_cast<const char*>(&size), sizeof size);
  frame += body;
  const ssize_t sent = send(socket_.get(), frame.data(), frame.size(), MSG_NOSIGNAL);
  EXPECT_EQ(sent, static_cast<ssize_t>(frame.size())) << arguments_.node;
}

void TestNode::Read() {
  char buffer[65536];
  const ssize_t n = recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (n == 0) socket_.Reset();
  if (n <= 0) return;
  input_.append(buffer, static_cast<std::size_t>(n));
  std::uint32_t size = 0;
  while (input_.size() >= sizeof size) {
    std::memcpy(&size, input_.data(), sizeof size);
    if (input_.size() < sizeof size + size) return;
    const auto report = DecodeVariant<Report>(std::string_view(input_).substr(sizeof size, size));
    ASSERT_TRUE(report.ok() && report->has_value());
    if (const auto* news = std::get_if<JobdStatus>(&**report)) {
      status = *news;
      statuses.push_back(*news);
    } else if (const auto* step = std::get_if<JobProgress>(&**report)) {
      progress.push_back(*step);
    } else {
      const JobMark& mark = std::get<JobMark>(**report);
      marks[mark.attempt][mark.mark] = mark.at_us;
    }
    input_.erase(0, sizeof size + size);
  }
}

void TestNode::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  Wait();
}

int TestNode::Wait() {
  int wait_status = 0;
  const pid_t ended = pid_ > 0 ? waitpid(pid_, &wait_status, 0) : -1;
  pid_ = 0;
  socket_.Reset();
  if (ended < 0) return -1000;
  return WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : -WTERMSIG(wait_status);
}

// ---- a job --------------------------------------------------------------------------------------

TestJob::TestJob(const TestJobOptions& options) : options_(options) {
  static int number = 0;
  const auto job = static_cast<JobId>(++number);
  order = {
      .job = job,
      .run_id = std::string(32, '7'),
      .job_key = std::string(32, static_cast<char>('a' + number)),
      .owner = {.uid = options.uid == 0 ? getuid() : options.uid,
                .gid = options.uid == 0 ? getgid() : options.uid,
                .home = "/"},
      .program = {
          .argv = options.argv, .environment = options.environment, .workdir = options.workdir}};
  order.fence_ms = 30000;  // Nothing here is about it, and a busy machine must not end a job.
  order.program.environment.push_back("MUSTER_TEST_MARK=" +
                                      GetEnv("MUSTER_TEST_MARK").value_or(""));
  for (std::uint32_t i = 0; i < options.hosts; ++i) {
    Host host{.node = "n" + std::to_string(i),
              .addresses = {"127.0.0.1"},
              .first_rank = i * options.ranks_per_host};
    for (std::uint32_t slot = 0; slot < options.ranks_per_host; ++slot) host.slots.push_back(slot);
    order.hosts.push_back(host);
  }
  const ClusterPaths paths{.state = options.folder + "/s",
                           .runtime = options.folder + "/r",
                           .short_id = std::to_string(getpid())};
  for (std::uint32_t i = 0; i < options.hosts; ++i) {
    const NodeName node = order.hosts[i].node;
    const DaemonId id = "0000" + std::to_string(job);
    JobdArguments arguments{.node = node,
                            .socket = paths.DaemonSocket(node, id),
                            .status = paths.Daemon(node, id) + "/status",
                            .logs = paths.Logs(),
                            .shm = paths.DaemonShm(node, id),
                            .cookie = paths.JobCookie(node, id)};
    for (const std::string& folder :
         {paths.Daemon(node, id), paths.JobLogs(job), arguments.shm, paths.runtime + "/" + node}) {
      EXPECT_TRUE(MakeFolders(folder, 0755).ok()) << folder;
      GiveTo(folder, options.uid);
    }
    if (options.group) {
      arguments.cgroup = MakeGroup("muster-" + arguments.cookie, order.owner.uid, order.owner.gid);
    }
    nodes.push_back(std::make_unique<TestNode>(arguments, options.prefix));
  }
}

void TestJob::Start(AttemptNumber attempt) {
  order.attempt = attempt;
  meeting_ = nodes.size() > 1;
  for (std::uint32_t i = 0; i < nodes.size(); ++i) {
    order.host_index = i;
    nodes[i]->Send(order);
  }
}

// Once the head is in the attempt its port is known.
void TestJob::MeetHead() {
  const JobdStatus& head = nodes[0]->status;
  if (!meeting_ || head.attempt != order.attempt || head.phase < MemberPhase::kStarting) return;
  meeting_ = false;
  for (std::uint32_t i = 1; i < nodes.size(); ++i) {
    nodes[i]->Send(muster::MeetHead{order.job, order.attempt, head.port});
  }
}

bool TestJob::Until(const std::function<bool()>& holds) {
  const auto deadline = steady_clock::now() + kPatience;
  while (!holds()) {
    if (steady_clock::now() > deadline) return false;
    std::vector<pollfd> fds;
    for (const auto& node : nodes) fds.push_back({.fd = node->fd(), .events = POLLIN});
    poll(fds.data(), fds.size(), 1);
    for (const auto& node : nodes) node->Read();
    MeetHead();
  }
  return true;
}

bool TestJob::UntilAll(MemberPhase phase) {
  return Until([&] {
    return std::all_of(nodes.begin(), nodes.end(), [&](const auto& node) {
      return node->status.attempt == order.attempt && node->status.phase == phase;
    });
  });
}

void TestJob::SendAll(const Order& any) {
  for (const auto& node : nodes) node->Send(any);
}

bool TestJob::End() {
  SendAll(EndJob{order.job});
  bool well = true;
  for (const auto& node : nodes) {
    while (node->fd() >= 0) node->Read();
    well = node->Wait() == 0 && well;
  }
  return well;
}

std::string TestJob::Out(AttemptNumber attempt, std::uint32_t rank) const {
  const auto text =
      ReadFile(LogFile(LogsOfJob(nodes[0]->arguments().logs, order.job), attempt, rank, false));
  return text.ok() ? *text : "";
}

std::string TestJob::Err(AttemptNumber attempt, std::uint32_t rank) const {
  const auto text =
      ReadFile(LogFile(LogsOfJob(nodes[0]->arguments().logs, order.job), attempt, rank, true));
  return text.ok() ? *text : "";
}

bool TestJob::AllSay(AttemptNumber attempt, const std::string& text) const {
  for (std::uint32_t rank = 0; rank < options_.hosts * options_.ranks_per_host; ++rank) {
    if (Out(attempt, rank).find(text) == std::string::npos) return false;
  }
  return true;
}

pid_t TestJob::PidOf(std::uint32_t rank) const {
  for (const auto& node : nodes) {
    const auto bytes = ReadFile(LiveStatus(node->arguments().shm));
    const auto file = bytes.ok() ? DecodeWire<StatusFile>(*bytes) : bytes.status();
    if (!file.ok()) continue;
    for (const RankRecord& record : file->ranks) {
      if (record.rank == rank && !record.exited) return record.pid;
    }
  }
  return 0;
}

std::vector<pid_t> TestJob::Carriers() const {
  std::vector<pid_t> all;
  for (const auto& node : nodes) {
    for (const pid_t pid : CarriersOf(node->containment().entry, node->containment().uid)) {
      all.push_back(pid);
    }
  }
  return all;
}

Cause TestJob::FirstCause() const {
  for (const auto& node : nodes) {
    if (node->status.cause.kind != CauseKind::kNone) return node->status.cause;
  }
  return {};
}

}  // namespace muster
