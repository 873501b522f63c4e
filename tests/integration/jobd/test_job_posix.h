// One job on one or two hosts of this machine, with real job daemons: the test is their agents and
// their coordinator.
//
// Single-threaded: reports are read while the test waits in Until.
#pragma once

#include <sys/types.h>

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/base/containment_posix.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/jobd_arguments.h"
#include "runtime/base/paths.h"
#include "runtime/base/statuses.h"

namespace muster {

// A jobd process and its agent's end of the socket.
class TestNode {
 public:
  // Starts it.  `prefix`: a command that runs it, such as setpriv with its options.
  TestNode(const JobdArguments& arguments, const std::vector<std::string>& prefix);
  ~TestNode();  // Contains it.
  TestNode(const TestNode&) = delete;
  TestNode& operator=(const TestNode&) = delete;

  void Connect();  // Again: as a new agent.
  void Disconnect() { socket_.Reset(); }
  void Send(const Order& order);
  // Reads what has come.
  void Read();

  int fd() const { return socket_.get(); }
  pid_t pid() const { return pid_; }
  const JobdArguments& arguments() const { return arguments_; }
  Containment containment() const;
  void Kill();  // kill -9 of the jobd alone.
  // Waits for the jobd to end; its exit status, or -signal.
  int Wait();

  JobdStatus status;                 // The newest.
  std::vector<JobdStatus> statuses;  // All.
  std::vector<JobProgress> progress;
  std::map<AttemptNumber, std::map<Mark, std::int64_t>> marks;

 private:
  const JobdArguments arguments_;
  std::uint32_t uid_ = 0;
  pid_t pid_ = 0;
  UniqueFd socket_;
  std::string input_;
};

struct TestJobOptions {
  std::string folder;  // Of the test.
  std::uint32_t hosts = 1;
  std::uint32_t ranks_per_host = 1;
  std::vector<std::string> argv;
  std::vector<std::string> environment;
  std::string workdir = "/";
  std::uint32_t uid = 0;  // Not 0: everything runs as this user (the test is root).
  bool group = true;      // Contain by a group where that can be made.
  std::vector<std::string> prefix;
};

class TestJob {
 public:
  explicit TestJob(const TestJobOptions& options);

  // Orders an attempt on every host, and tells the followers where the head is.
  void Start(AttemptNumber attempt);
  // Reads reports until it holds; false when it does not within a minute.
  bool Until(const std::function<bool()>& holds);
  bool UntilAll(MemberPhase phase);
  void SendAll(const Order& order);
  // Ends the job and waits for the daemons to leave; true when each left with 0.
  bool End();

  std::size_t size() const { return nodes.size(); }
  std::string Out(AttemptNumber attempt, std::uint32_t rank) const;
  std::string Err(AttemptNumber attempt, std::uint32_t rank) const;
  // Every rank's output of the attempt has the text.
  bool AllSay(AttemptNumber attempt, const std::string& text) const;
  // The pid of a rank that runs, from the status file.
  pid_t PidOf(std::uint32_t rank) const;
  // Living processes of the job, jobds too.
  std::vector<pid_t> Carriers() const;
  // The first failure that any of them names for the attempt.
  Cause FirstCause() const;

  StartAttempt order;
  std::vector<std::unique_ptr<TestNode>> nodes;

 private:
  void MeetHead();
  TestJobOptions options_;
  AttemptNumber met_ = 0;
  bool meeting_ = false;
};

}  // namespace muster
