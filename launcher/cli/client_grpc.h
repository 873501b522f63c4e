// The command line's connection to a coordinator.
//
// Every call goes over mutual TLS, has a deadline, and is tried again while the coordinator is away
// (it may be on its way back from its journal) for at most `patience`; then kUnavailable.  Asking
// twice is safe: submissions carry a key, the rest is idempotent.  Any thread; many calls at once.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "launcher/cli/cluster.h"
#include "runtime/base/clock.h"
#include "runtime/base/tls_openssl.h"

namespace muster {

struct ClientConfig {
  // Where the coordinator listens, "host:port", or the file that says so; the file is read again
  // for each new connection, since a restarted coordinator may have another port.
  std::string address;
  std::string address_file;
  Credentials credentials;
  Duration patience = std::chrono::seconds(10);  // Without an answer; 0: one try.
};

// A Watch, Logs or Attach that is under way on a thread of its own.  It resumes by itself where it
// was when the coordinator dies and comes back.  Destroying it cancels and waits for the thread.
class ClientStream {
 public:
  virtual ~ClientStream() = default;
  virtual void Cancel() = 0;  // Any thread; also from a callback.  It then ends with kAborted.
  virtual Status Wait() = 0;  // Until it ended.
};

class ClusterClient {
 public:
  // Connects on the first call only.
  explicit ClusterClient(ClientConfig config);
  ~ClusterClient();
  ClusterClient(const ClusterClient&) = delete;
  ClusterClient& operator=(const ClusterClient&) = delete;

  Result<JobId> Submit(const JobRequest& request);
  Result<JobView> Get(JobId job);
  Result<std::vector<JobView>> List(bool ended_too);
  // `now`: without grace; else with the job's own, or the one given.
  Status Cancel(JobId job, bool now = false, std::optional<std::uint32_t> grace_ms = {});
  // Runs a program beside a rank; `on_output` gets each piece that it prints.  Blocks until it
  // ended; is not tried again.
  Result<ExecEnd> Exec(const ExecRequest& request,
                       const std::function<void(bool is_stderr, const std::string&)>& on_output);
  Status Signal(JobId job, std::int32_t signal, std::int64_t rank = -1);  // -1: all.
  Result<std::vector<ClusterNode>> Nodes();
  // An empty reason resumes.  `dead`: nothing on it runs any more, I vouch for it.
  Status Drain(const NodeName& node, const std::string& reason, bool dead);
  Result<ClusterInfo> Info();

  // Callbacks run on the stream's thread, one at a time; `ended` is the last, with ok when the
  // stream came to its natural end.  They must not destroy the stream.
  using Ended = std::function<void(const Status&)>;

  // Begins with a JobView; ends after the JobView of phase kEnded.
  std::unique_ptr<ClientStream> Watch(JobId job, std::function<void(const WatchNews&)> on_news,
                                      Ended ended);
  // Byte for byte what the ranks wrote, each file in order.  Ends at the files' ends, or with
  // `follow` when the job ended and all was sent.  A slow callback slows only this stream.
  std::unique_ptr<ClientStream> Logs(const LogsRequest& request,
                                     std::function<void(LogPiece)> on_piece, Ended ended);
  // Holds a job that was submitted as `attached`; `held` runs each time that the hold stands.
  // Ends when the job ended.  Cancelling gives the job up: the coordinator stops it with grace.
  std::unique_ptr<ClientStream> Attach(JobId job, std::function<void()> held, Ended ended);

  // Gives rank 0 of a job that was submitted to take it the input of `source`, which outlives the
  // stream.  Ends when rank 0 reads no more; with an error if the way to it broke, which is not
  // mended once it was attached.
  std::unique_ptr<ClientStream> GiveInput(JobId job, InputSource& source, Ended ended);

  struct Channel;  // channel_grpc.h

 private:
  std::shared_ptr<Channel> channel_;
};

}  // namespace muster
