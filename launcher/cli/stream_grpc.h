// The streams of client_grpc.h: each a thread that reads, and connects again when it breaks.
#pragma once

#include <functional>
#include <memory>

#include "launcher/cli/channel_grpc.h"

namespace muster {

using ClientChannel = std::shared_ptr<ClusterClient::Channel>;

std::unique_ptr<ClientStream> MakeWatch(ClientChannel channel, JobId job,
                                        std::function<void(const WatchNews&)> on_news,
                                        ClusterClient::Ended ended);
std::unique_ptr<ClientStream> MakeLogs(ClientChannel channel, const LogsRequest& request,
                                       std::function<void(LogPiece)> on_piece,
                                       ClusterClient::Ended ended);
std::unique_ptr<ClientStream> MakeAttach(ClientChannel channel, JobId job,
                                         std::function<void()> held, ClusterClient::Ended ended);
std::unique_ptr<ClientStream> MakeInput(ClientChannel channel, JobId job, InputSource& source,
                                        ClusterClient::Ended ended);

}  // namespace muster
