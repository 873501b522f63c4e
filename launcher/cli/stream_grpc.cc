#include "launcher/cli/stream_grpc.h"

#include <map>
#include <thread>
#include <tuple>

#include "launcher/cli/client_proto.h"

namespace muster {
namespace {

using Stub = ClusterClient::Channel::Stub;

// Whether a try got anywhere: then the patience begins anew.
using Went = std::function<void()>;
using Body = std::function<grpc::Status(Stub&, grpc::ClientContext&, const Went&)>;

class StreamThread final : public ClientStream {
 public:
  StreamThread(ClientChannel channel, Body body, ClusterClient::Ended ended)
      : channel_(std::move(channel)), body_(std::move(body)), ended_(std::move(ended)) {
    thread_ = std::jthread([this] { Main(); });
  }
  ~StreamThread() override {
    StreamThread::Cancel();
    thread_.join();
  }
  StreamThread(const StreamThread&) = delete;
  StreamThread& operator=(const StreamThread&) = delete;

  void Cancel() override {
    const MutexLock lock(mutex_);
    cancelled_ = true;
    if (context_ != nullptr) context_->TryCancel();
    wake_.notify_all();
  }

  Status Wait() override {
    mutex_.lock();
    wake_.wait(mutex_, [&] { return result_.has_value(); });
    Status result = *result_;
    mutex_.unlock();
    return result;
  }

 private:
  void Main() {
    const Status result = Run();
    if (ended_) ended_(result);
    const MutexLock lock(mutex_);
    result_ = result;
    wake_.notify_all();
  }

  Status Run() {
    TimePoint until = RealClock().Now() + channel_->config.patience;
    for (Backoff backoff;;) {
      Status status;
      if (auto made = channel_->Connect(); made.ok()) {
        status = Once(**made, [&] {
          until = TimePoint::max();  // It stands; the patience begins when it breaks.
          backoff.Reset();
        });
        if (status.ok() || !IsPassing(status)) return status;
        if (status.code() != Code::kExhausted) channel_->Drop(*made);
      } else {
        status = made.status();
      }
      const TimePoint now = RealClock().Now();
      if (until == TimePoint::max()) until = now + channel_->config.patience;
      if (now >= until && !cancelled()) return channel_->Away(status);
      if (!backoff.Wait(mutex_, wake_, [&] { return cancelled_; })) {
        return Status(Code::kAborted, "cancelled");
      }
    }
  }

  Status Once(Stub& stub, const Went& went) {
    grpc::ClientContext context;
    {
      const MutexLock lock(mutex_);
      if (cancelled_) return Status(Code::kAborted, "cancelled");
      context_ = &context;
    }
    const Status status = FromGrpc(body_(stub, context, went));
    const MutexLock lock(mutex_);
    context_ = nullptr;
    return status;
  }

  bool cancelled() {
    const MutexLock lock(mutex_);
    return cancelled_;
  }

  const ClientChannel channel_;
  const Body body_;
  const ClusterClient::Ended ended_;
  Mutex mutex_;
  std::condition_variable_any wake_;
  bool cancelled_ GUARDED_BY(mutex_) = false;
  grpc::ClientContext* context_ GUARDED_BY(mutex_) = nullptr;
  std::optional<Status> result_ GUARDED_BY(mutex_);
  std::jthread thread_;
};

grpc::Status TooEarly() {
  return {grpc::UNAVAILABLE, "the stream ended too early"};
}

}  // namespace

std::unique_ptr<ClientStream> MakeWatch(ClientChannel channel, JobId job,
                                        std::function<void(const WatchNews&)> on_news,
                                        ClusterClient::Ended ended) {
  // What was told already; it outlives a broken stream.
  auto request = std::make_shared<v1::WatchRequest>();
  request->set_job(job);
  Body body = [request, on_news = std::move(on_news)](Stub& stub, grpc::ClientContext& context,
                                                      const Went& went) {
    const auto reader = stub.Watch(&context, *request);
    bool over = false;
    for (v1::WatchEvent event; reader->Read(&event);) {
      went();
      if (event.has_job()) {
        over = event.job().phase() == v1::JOB_PHASE_ENDED;
        on_news(FromProto(event.job()));
      } else if (event.has_progress()) {
        on_news(FromProto(event.progress()));
      } else if (event.has_story()) {
        request->set_life(event.story().life());
        request->set_after(event.story().number());
        on_news(FromProto(event.story(), request->job()));
      }
    }
    const grpc::Status status = reader->Finish();
    return status.ok() && !over ? TooEarly() : status;
  };
  return std::make_unique<StreamThread>(std::move(channel), std::move(body), std::move(ended));
}

std::unique_ptr<ClientStream> MakeLogs(ClientChannel channel, const LogsRequest& request,
                                       std::function<void(LogPiece)> on_piece,
                                       ClusterClient::Ended ended) {
  using File = std::tuple<AttemptNumber, std::uint32_t, bool>;
  auto had = std::make_shared<std::map<File, std::uint64_t>>();
  Body body = [message = ToProto(request), had, on_piece = std::move(on_piece)](
                  Stub& stub, grpc::ClientContext& context, const Went& went) {
    v1::LogsRequest again = message;
    for (const auto& [file, offset] : *had) {
      v1::LogOffset* from = again.add_from();
      from->set_attempt(std::get<0>(file));
      from->set_rank(std::get<1>(file));
      from->set_is_stderr(std::get<2>(file));
      from->set_offset(offset);
    }
    const auto reader = stub.Logs(&context, again);
    for (v1::LogChunk chunk; reader->Read(&chunk);) {
      went();
      (*had)[{chunk.attempt(), chunk.rank(), chunk.is_stderr()}] =
          chunk.offset() + chunk.data().size();
      on_piece(FromProto(std::move(chunk)));
    }
    return reader->Finish();
  };
  return std::make_unique<StreamThread>(std::move(channel), std::move(body), std::move(ended));
}

std::unique_ptr<ClientStream> MakeAttach(ClientChannel channel, JobId job,
                                         std::function<void()> held, ClusterClient::Ended ended) {
  Body body = [job, held = std::move(held)](Stub& stub, grpc::ClientContext& context,
                                            const Went& went) {
    const auto stream = stub.Attach(&context);
    v1::AttachRequest request;
    request.set_job(job);
    stream->Write(request);
    // The writing side stays open: closing it would let the job go.
    for (v1::AttachReply reply; stream->Read(&reply);) {
      went();
      if (held) held();
    }
    return stream->Finish();
  };
  return std::make_unique<StreamThread>(std::move(channel), std::move(body), std::move(ended));
}

std::unique_ptr<ClientStream> MakeInput(ClientChannel channel, JobId job, InputSource& source,
                                        ClusterClient::Ended ended) {
  Body body = [job, &source](Stub& stub, grpc::ClientContext& context, const Went& went) {
    const auto stream = stub.Input(&context);
    v1::InputPiece message;
    message.set_job(job);
    stream->Write(message);
    bool attached = false;
    for (v1::InputWord word; !attached && stream->Read(&word); attached = word.attached()) went();
    // Lost for good, which ABORTED would not say to whoever tries again.
    const auto lost = [](const std::string& why) { return grpc::Status(grpc::DATA_LOSS, why); };
    if (!attached) {
      const grpc::Status status = stream->Finish();
      return status.error_code() == grpc::ABORTED ? lost(status.error_message()) : status;
    }
    source.Attached();
    std::jthread ear([&] {
      for (v1::InputWord word; stream->Read(&word);) {
      }
      source.Stop();
    });
    bool open = true;
    while (open) {
      std::optional<InputPiece> piece = source.Next();
      message.Clear();
      message.set_end(!piece);
      if (piece) {
        message.set_data(std::move(piece->data));
        message.set_rows(piece->rows);
        message.set_columns(piece->columns);
      }
      open = stream->Write(message) && piece;
    }
    ear.join();
    const grpc::Status status = stream->Finish();
    if (status.ok()) return status;
    return lost(status.error_code() == grpc::ABORTED ? status.error_message()
                                                     : "the coordinator went away");
  };
  return std::make_unique<StreamThread>(std::move(channel), std::move(body), std::move(ended));
}

}  // namespace muster
