#include "examples/byte_gpt/rank_mpi.h"

#include <memory>

#include "examples/byte_gpt/rank_posix.h"
#include "runtime/base/link_posix.h"
#include "runtime/comm/group_mpi.h"
#include "runtime/train/flight_recorder.h"
#include "runtime/train/memory_mpi.h"
#include "runtime/train/memory_posix.h"
#include "runtime/train/sink_posix.h"

namespace muster {
namespace {

// What lives as long as the rank; in the order in which it goes away, last first.
struct Session {
  std::unique_ptr<RankLink> link;
  std::unique_ptr<MpiSession> mpi;
  std::unique_ptr<ProcessGroup> group;
  std::unique_ptr<Memory> memory;
  std::unique_ptr<FlightRecorder> recorder;
  std::unique_ptr<CheckpointSink> sink;
  bool checkpoints = false;
  Place place;
};

Status OpenSink(const ByteGptOptions& options, Session& session) {
  if (session.link != nullptr) {
    session.checkpoints = options.checkpoint_every > 0;
    session.sink = std::make_unique<LinkSink>(*session.link);
    return {};
  }
  session.checkpoints = !options.checkpoint_dir.empty();
  if (session.place.local_rank > 0) return {};
  auto sink = OpenDirectSink(options, session.place.node);
  if (!sink.ok()) return std::move(sink).status();
  session.sink = *std::move(sink);
  return {};
}

Status Open(const ByteGptOptions& options, const RankInfo& info, Session& session) {
  if (info.link_fd) {
    auto link = RankLink::Open(info);
    if (!link.ok()) return std::move(link).status();
    session.link = *std::move(link);
    session.link->Report({.phase = link::Phase::kStarting});
  }
  auto mpi = MpiSession::Start(info.world_size);
  if (!mpi.ok()) return std::move(mpi).status();
  session.mpi = *std::move(mpi);
  session.place = {.node = info.node_rank, .local_rank = info.local_rank};
  if (info.launcher != Launcher::kMuster) {
    const auto place = session.mpi->FindPlace();
    if (!place.ok()) return place.status();
    session.place = {.node = place->node, .local_rank = place->local_rank};
  }
  if (options.backend == "hybrid") {
    auto group = session.mpi->Hybrid(session.place.node);
    if (!group.ok()) return std::move(group).status();
    session.group = *std::move(group);
  } else {
    session.group = session.mpi->World();
  }
  if (session.link != nullptr) {
    session.memory = std::make_unique<LinkMemory>(*session.link);
    session.recorder = std::make_unique<FlightRecorder>(
        *session.memory, static_cast<std::uint32_t>(info.local_rank),
        RecorderFacts{.rank = info.rank, .world_size = info.world_size, .attempt = info.attempt},
        session.group.get(), RealClock());
  } else {
    session.memory = std::make_unique<MpiMemory>(session.place);
  }
  return OpenSink(options, session);
}

}  // namespace

Status TrainMpi(const ByteGptOptions& options, const RankInfo& info, const std::string& text) {
  auto session = std::make_unique<Session>();
  Status status = Open(options, info, *session);
  if (status.ok()) {
    status = TrainRank(
        options, text,
        {.group = *session->group,
         .memory = *session->memory,
         .checkpoints = session->checkpoints,
         .sink = session->sink.get(),
         .link = session->link.get(),
         .place = session->place,
         .attempt = info.attempt,
         .recorder = session->recorder == nullptr ? nullptr : &session->recorder->recorder()});
  }
  if (session->link != nullptr) session->link->Bye(status.ok() ? 0 : 1);
  // On a failure it is left as it is: MPI's clean-up would wait for ranks that wait for us, and
  // what is in flight may still tell the recorder.
  if (!status.ok()) static_cast<void>(session.release());
  return status;
}

}  // namespace muster
