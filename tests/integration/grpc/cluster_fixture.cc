#include "tests/integration/grpc/cluster_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <thread>

#include "launcher/agent/logs_posix.h"
#include "runtime/base/file_posix.h"

namespace muster::testing {
namespace {

// Beside this program, wherever that is seen from.
std::string CoordinatorProgram() {
  char path[4096] = {};
  CHECK(readlink("/proc/self/exe", path, sizeof path - 1) > 0);
  const std::string self = path;
  return self.substr(0, self.rfind('/')) + "/coordinator_alone";
}

std::uint64_t RandomNumber() {
  std::uint64_t number = 0;
  std::memcpy(&number, RandomBytes(sizeof number).data(), sizeof number);
  return number;
}

}  // namespace

// ---- the fake agent -----------------------------------------------------------------------------

FakeAgent::FakeAgent(const ClusterPaths& paths, const NodeName& node, std::uint32_t slots)
    : FakeAgent(paths, node, slots, *LoadCredentials(paths.Ca(), NodeCredentials(node))) {}

FakeAgent::FakeAgent(ClusterPaths paths, const NodeName& node, std::uint32_t slots,
                     Credentials credentials)
    : paths_(std::move(paths)), node_(node), slots_(slots) {
  mutex_.lock();
  session_ = std::make_unique<AgentSession>(SessionConfig{
      .address_file = paths_.CoordinatorAddress(),
      .credentials = std::move(credentials),
      .opened = [this](SessionNumber number) { Opened(number); },
      .closed =
          [this](const Status& status) {
            const MutexLock lock(mutex_);
            closed.push_back(status);
            changed_.notify_all();
          },
      .order = [this](Incarnation incarnation, const Order& order) { Obey(incarnation, order); },
      .open_logs =
          [this](const LogWish& wish) {
            return OpenLogFiles(paths_.JobLogs(wish.job), node_, wish);
          }});
  mutex_.unlock();
}

// The session, being the last member, goes first: its callbacks find the rest.
FakeAgent::~FakeAgent() = default;

void FakeAgent::Opened(SessionNumber number) {
  const MutexLock lock(mutex_);
  incarnation_ = RandomNumber();
  Registration registration{.node = node_,
                            .incarnation = incarnation_,
                            .boot_id = "boot-" + node_,
                            .slots = slots_,
                            .addresses = {"127.0.0.1"}};
  for (const auto& [job, status] : jobds) registration.jobds.push_back(status);
  session_->Register(number, registration);
  ++registrations;
  changed_.notify_all();
}

void FakeAgent::Obey(Incarnation incarnation, const Order& order) {
  const MutexLock lock(mutex_);
  if (incarnation != incarnation_) return;
  orders.push_back(order);
  if (const auto* start = std::get_if<StartAttempt>(&order); start != nullptr) {
    JobdStatus status{.job = start->job,
                      .instance = RandomNumber(),
                      .attempt = start->attempt,
                      .phase = MemberPhase::kStarting,
                      .port = 1};
    for (const MemberPhase phase :
         {MemberPhase::kStarting, MemberPhase::kReady, MemberPhase::kRunning}) {
      status.phase = phase;
      SayLocked(status);
    }
  } else if (const auto* stop = std::get_if<StopAttempt>(&order); stop != nullptr) {
    JobdStatus status = jobds[stop->job];
    status.job = stop->job;
    status.attempt = stop->attempt;
    status.phase = MemberPhase::kLeft;
    status.asked_to_stop = true;
    status.cause = {.kind = CauseKind::kCancelled};
    SayLocked(status);
  } else if (const auto* end = std::get_if<EndJob>(&order); end != nullptr) {
    JobdStatus status = jobds[end->job];
    status.job = end->job;
    status.phase = MemberPhase::kGone;
    SayLocked(status);
    jobds.erase(end->job);
  }
  changed_.notify_all();
}

void FakeAgent::SayLocked(const JobdStatus& status) {
  jobds[status.job] = status;
  session_->Send(status);
}

void FakeAgent::Say(const JobdStatus& status) {
  const MutexLock lock(mutex_);
  SayLocked(status);
}

void FakeAgent::Finish(JobId job) {
  const MutexLock lock(mutex_);
  JobdStatus status = jobds[job];
  status.phase = MemberPhase::kLeft;
  SayLocked(status);
}

bool FakeAgent::Await(const std::function<bool(FakeAgent&)>& holds) {
  mutex_.lock();
  const bool held = changed_.wait_for(mutex_, kPatience, [&] { return holds(*this); });
  mutex_.unlock();
  return held;
}

// ---- the coordinator ----------------------------------------------------------------------------

void ClusterTest::SetUp() {
  paths_.state = scene_.folder() + "/state";
  now_.from = RealClock().Wall() - std::chrono::minutes(5);
  authority_ = *MakeAuthority("test", now_);
  ASSERT_TRUE(
      SaveCredentials(paths_.Ca(), kCoordinatorCredentials, CredentialsOf(CoordinatorIdentity()))
          .ok());
  for (const NodeName node : {"n0", "n1"}) {
    const Credentials credentials = CredentialsOf(NodeIdentity(node));
    ASSERT_TRUE(SaveCredentials(paths_.Ca(), NodeCredentials(node), credentials).ok());
  }
  ASSERT_TRUE(SaveCredentials(paths_.Ca(), UserCredentials(kAlice.uid),
                              CredentialsOf(UserIdentity(kAlice, false)))
                  .ok());
}

void ClusterTest::TearDown() {
  if (pid_ > 0) {
    EXPECT_EQ(StopCoordinator(SIGTERM), 0);
  }
  CleanTest::TearDown();
}

void ClusterTest::StartCoordinator(std::vector<std::string> words) {
  words.insert(words.begin(), {CoordinatorProgram(), paths_.state});
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  const std::string log = paths_.state + "/coordinator.log";
  pid_ = fork();
  ASSERT_GE(pid_, 0);
  if (pid_ > 0) return;
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
  dup2(fd, STDERR_FILENO);
  execv(argv[0], argv.data());
  _exit(127);
}

void ClusterTest::KillCoordinator() {
  ASSERT_EQ(kill(pid_, SIGKILL), 0);
  ASSERT_EQ(waitpid(pid_, nullptr, 0), pid_);
  pid_ = -1;
}

int ClusterTest::StopCoordinator(int signal) {
  if (signal != 0) kill(pid_, signal);
  int status = 0;
  EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Credentials ClusterTest::CredentialsOf(const Identity& identity, const Validity& validity) {
  auto credentials = Issue(authority_, identity, validity);
  EXPECT_TRUE(credentials.ok()) << credentials.status().message();
  return *std::move(credentials);
}

std::unique_ptr<ClusterClient> ClusterTest::ClientWith(Credentials credentials, Duration patience) {
  return std::make_unique<ClusterClient>(ClientConfig{.address_file = paths_.CoordinatorAddress(),
                                                      .credentials = std::move(credentials),
                                                      .patience = patience});
}

std::unique_ptr<ClusterClient> ClusterTest::ClientOf(const Owner& owner, bool is_operator,
                                                     Duration patience) {
  return ClientWith(CredentialsOf(UserIdentity(owner, is_operator)), patience);
}

JobRequest ClusterTest::RequestOf(const Owner& owner, const std::string& key, std::uint32_t nodes) {
  JobRequest request{.submit_key = key, .name = "job-" + key, .nodes = nodes};
  request.program.argv = {"train", "--fast"};
  request.program.workdir = "/";
  request.owner = owner;
  return request;
}

bool ClusterTest::AwaitJob(ClusterClient& client, JobId job,
                           const std::function<bool(const JobView&)>& holds) {
  const auto until = RealClock().Now() + kPatience;
  while (RealClock().Now() < until) {
    const auto view = client.Get(job);
    if (view.ok() && holds(*view)) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

}  // namespace muster::testing
