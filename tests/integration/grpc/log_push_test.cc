// A push of logs that is abandoned at any moment comes to its end: else its agent, which waits for
// it, would never register again.
#include "launcher/agent/log_push_grpc.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <future>
#include <string>
#include <thread>

namespace muster {
namespace {

// Takes what comes, and never says a word.
class Taker final : public v1::AgentLink::CallbackService {
 public:
  grpc::ServerReadReactor<v1::PushedLog>* PushLogs(grpc::CallbackServerContext*,
                                                   v1::PushLogsReply*) override {
    class Reader final : public grpc::ServerReadReactor<v1::PushedLog> {
     public:
      Reader() { StartRead(&in_); }
      void OnReadDone(bool ok) override { ok ? StartRead(&in_) : Finish(grpc::Status::OK); }
      void OnDone() override { delete this; }

     private:
      v1::PushedLog in_;
    };
    return new Reader();
  }
};

// A file to which nothing is added after its first line.
class OneLine final : public LogSource {
 public:
  std::optional<LogBytes> Next(std::size_t) override {
    if (given_) return std::nullopt;
    given_ = true;
    return LogBytes{.data = "line\n"};
  }

 private:
  bool given_ = false;
};

TEST(LogPushTest, EndsWheneverItIsAbandoned) {
  Taker taker;
  int port = 0;
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&taker);
  const auto server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);
  const auto stub = v1::AgentLink::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(port), grpc::InsecureChannelCredentials()));
  for (int round = 0; round < 2000; ++round) {
    std::promise<void> done;
    auto push = std::make_unique<LogPush>(7, std::make_unique<OneLine>(), /*follow=*/true,
                                          [&] { done.set_value(); });
    push->Begin(*stub);
    // Before, while and after the line is on its way.
    for (int spin = 0; spin < round % 200; ++spin) std::this_thread::yield();
    push->Abandon();
    const bool ended =
        done.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready;
    if (!ended) (void)push.release();  // gRPC may still call it.
    ASSERT_TRUE(ended) << "round " << round;
  }
}

}  // namespace
}  // namespace muster
