// A coordinator as a process of its own, with certificates, and fake agents in this one.
#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "launcher/agent/session_grpc.h"
#include "launcher/cli/client_grpc.h"
#include "runtime/base/mutex.h"
#include "runtime/base/paths.h"
#include "tests/integration/lib/clean_test.h"

namespace muster::testing {

// Ten times the quiet time and more: reached only when something is broken.
inline constexpr std::chrono::seconds kPatience(30);

inline const Owner kAlice{.uid = 1000, .gid = 1000, .user = "alice", .home = "/nonexistent"};
inline const Owner kBob{.uid = 1001, .gid = 1001, .user = "bob", .home = "/nonexistent"};
inline const Owner kRoot{.user = "root", .home = "/root"};

// Behaves as an agent whose jobds do as the test says: an order to start makes the ranks run at
// once, an order to stop makes them leave, an order to end makes the job gone.
class FakeAgent {
 public:
  FakeAgent(const ClusterPaths& paths, const NodeName& node, std::uint32_t slots);
  // With another certificate than its own.
  FakeAgent(ClusterPaths paths, const NodeName& node, std::uint32_t slots, Credentials credentials);
  FakeAgent(const FakeAgent&) = delete;
  FakeAgent& operator=(const FakeAgent&) = delete;
  ~FakeAgent();

  void Say(const JobdStatus& status);  // Sends it, and lists it from now on.
  // The ranks left with 0, everywhere.
  void Finish(JobId job);
  void Send(const Report& report) { session_->Send(report); }

  // Waits until it holds.
  bool Await(const std::function<bool(FakeAgent&)>& holds);
  // Under the lock of Await.
  std::vector<Order> orders;
  std::vector<Status> closed;  // Why sessions ended or could not be opened.
  int registrations = 0;
  std::map<JobId, JobdStatus> jobds;

 private:
  void Opened(SessionNumber number);
  void Obey(Incarnation incarnation, const Order& order);
  void SayLocked(const JobdStatus& status) REQUIRES(mutex_);

  const ClusterPaths paths_;
  const NodeName node_;
  const std::uint32_t slots_;
  Mutex mutex_;
  std::condition_variable_any changed_;
  Incarnation incarnation_ = 0;
  std::unique_ptr<AgentSession> session_;
};

class ClusterTest : public CleanTest {
 protected:
  void SetUp() override;
  void TearDown() override;

  void StartCoordinator(std::vector<std::string> words = {});
  void KillCoordinator();           // kill -9, and waits.
  int StopCoordinator(int signal);  // Returns the exit status.
  pid_t pid() const { return pid_; }

  Credentials CredentialsOf(const Identity& identity, const Validity& validity);
  Credentials CredentialsOf(const Identity& identity) { return CredentialsOf(identity, now_); }
  std::unique_ptr<ClusterClient> ClientOf(const Owner& owner, bool is_operator = false,
                                          Duration patience = kPatience);
  std::unique_ptr<ClusterClient> ClientWith(Credentials credentials, Duration patience);
  JobRequest RequestOf(const Owner& owner, const std::string& key, std::uint32_t nodes = 1);
  // Until the client sees that `holds`; asks again and again.
  bool AwaitJob(ClusterClient& client, JobId job, const std::function<bool(const JobView&)>& holds);

  ClusterPaths paths_;
  Validity now_;
  Authority authority_;
  pid_t pid_ = -1;
};

// What a stream's callbacks gathered.
template <typename T>
class Gathered {
 public:
  void Add(T item) {
    const MutexLock lock(mutex_);
    items_.push_back(std::move(item));
    changed_.notify_all();
  }
  std::vector<T> all() {
    const MutexLock lock(mutex_);
    return {items_.begin(), items_.end()};
  }
  bool Await(const std::function<bool(const std::deque<T>&)>& holds) {
    mutex_.lock();
    const bool held = changed_.wait_for(mutex_, kPatience, [&] { return holds(items_); });
    mutex_.unlock();
    return held;
  }

 private:
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<T> items_;
};

}  // namespace muster::testing
