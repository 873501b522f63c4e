// The streams that people hold open: Watch, Attach and Logs, as listeners of the front.
//
// Each is bounded: a watcher keeps the newest picture and progress and 256 lines; a reader of logs
// keeps a few chunks and makes the agents that push to it wait.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <tuple>

#include "launcher/coordinator/loop_threads.h"
#include "launcher/coordinator/messages_proto.h"
#include "launcher/coordinator/relays_threads.h"
#include "launcher/coordinator/stream_grpc.h"
#include "muster/v1/cluster.grpc.pb.h"

namespace muster {

class WatchStream final
    : public OutStream<grpc::ServerWriteReactor<v1::WatchEvent>, v1::WatchEvent>,
      public Watcher {
 public:
  WatchStream(Loop& loop, JobId job, ListenerId id) : loop_(loop), job_(job), id_(id) {}

  void Show(std::shared_ptr<const JobPicture> picture) override;
  void Show(const JobProgress& progress) override;
  void Show(const Story& story) override;
  void End(const Status& status) override { EndWith(status); }

 private:
  bool Next(v1::WatchEvent* out) override;
  void Dropped() override { stories_.clear(); }
  void Gone() override;

  Loop& loop_;
  const JobId job_;
  const ListenerId id_;
  std::deque<v1::StoryLine> stories_;
  std::optional<v1::Progress> progress_;
  std::shared_ptr<const JobPicture> picture_;
};

class AttachStream final
    : public OutStream<grpc::ServerBidiReactor<v1::AttachRequest, v1::AttachReply>,
                       v1::AttachReply>,
      public Holder,
      public std::enable_shared_from_this<AttachStream> {
 public:
  AttachStream(Loop& loop, Identity identity, ListenerId id)
      : loop_(loop), identity_(std::move(identity)), id_(id) {}
  void Begin() { StartRead(&request_); }

  void OnReadDone(bool ok) override;
  void Held() override;
  void End(const Status& status) override { EndWith(status); }

 private:
  bool Next(v1::AttachReply* out) override;
  void Gone() override;
  void Release();

  Loop& loop_;
  const Identity identity_;
  const ListenerId id_;
  v1::AttachRequest request_;
  JobId job_ = 0;      // gRPC's reads only.
  bool held_ = false;  // Guarded by mutex_: the reply is to be written.
};

class LogsStream;
using LogRelays = Relays<LogsStream>;

class LogsStream final : public OutStream<grpc::ServerWriteReactor<v1::LogChunk>, v1::LogChunk>,
                         public LogReader,
                         public std::enable_shared_from_this<LogsStream> {
 public:
  enum class Room { kMore, kWait, kGone };

  LogsStream(Loop& loop, LogRelays& relays, ListenerId id)
      : loop_(loop), relays_(relays), id_(id) {}
  void SetFrom(const v1::LogsRequest& request);

  // The bytes of one agent; those that the reader has are left out.  After kWait push no more
  // until `resume` runs.
  Room Push(const NodeName& node, v1::PushedLog pushed, std::function<void()> resume);

  std::vector<LogOffset> Offsets() const override;
  void Expect(std::uint64_t want, const NodeName& node) override;
  void End(const Status& status) override { EndWith(status); }

 private:
  using File = std::tuple<AttemptNumber, std::uint32_t, bool>;

  bool Next(v1::LogChunk* out) override;
  void Dropped() override;
  void Gone() override;

  Loop& loop_;
  LogRelays& relays_;
  const ListenerId id_;
  std::map<File, std::uint64_t> offsets_;
  std::deque<v1::LogChunk> chunks_;
  std::deque<std::function<void()>> waiting_;  // Resumes of those who wait for room.
  std::vector<std::uint64_t> wants_;
};

}  // namespace muster
