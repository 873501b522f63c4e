// One rank of byte_gpt, on whatever group and memory it is given; and all of them as threads of
// this process.
#pragma once

#include <memory>
#include <string>

#include "examples/byte_gpt/options.h"
#include "runtime/base/link_posix.h"
#include "runtime/comm/process_group.h"
#include "runtime/comm/recorder.h"
#include "runtime/train/checkpoint.h"
#include "runtime/train/memory.h"
#include "runtime/train/topology.h"

namespace muster {

struct RankParts {
  ProcessGroup& group;
  Memory& memory;
  bool checkpoints = false;
  CheckpointSink* sink = nullptr;  // The leader's.
  RankLink* link = nullptr;
  Place place;
  std::uint32_t attempt = 0;
  Recorder* recorder = nullptr;
};

// Of the model and its data; what computes is for the caller to add.
RunFacts FactsOf(const ByteGptOptions& options, const GptConfig& config, const std::string& text);

// What --sample and --hash ask for.
void PrintTail(const ByteGptOptions& options, const GptConfig& config, const Layout& layout,
               const float* parameters);

Status TrainRank(const ByteGptOptions& options, const std::string& text, const RankParts& parts);

Status TrainThreads(const ByteGptOptions& options, const std::string& text);

// The store of --checkpoint-dir, for the leader of `node`; null without one.
Result<std::unique_ptr<CheckpointSink>> OpenDirectSink(const ByteGptOptions& options,
                                                       std::int32_t node);

}  // namespace muster
