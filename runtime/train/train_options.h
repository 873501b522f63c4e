// What a run of the training loop is told.  Pure values.
#pragma once

#include <cstdint>

#include "runtime/base/result.h"
#include "runtime/train/host_state.h"
#include "runtime/train/optimizer.h"
#include "runtime/train/precision.h"

namespace muster {

// What becomes of a step whose loss or gradient is not finite.
enum class OnNan : std::uint8_t {
  kStop,  // An error that names step and tensor; the state stays as it was before the step.
  kSkip   // The step changes nothing, is told and counted, and the next one follows.
};

struct TrainOptions {
  std::uint64_t steps = 0;           // Of the whole run; the learning rate's schedule ends there.
  std::uint64_t stop_after = 0;      // Stop as if asked to after this step; 0: do not.
  std::uint32_t micro_batches = 16;  // Of a step, over all ranks; at least as many as ranks.
  // Gradient accumulation: a step has so many times micro_batches, and still one reduction.  What a
  // rank adds up before its last micro-batch is not synchronised (no_sync of PyTorch's DDP).
  std::uint32_t accumulate = 1;
  std::uint64_t seed = 42;
  bool from_memory = true;             // Go on from a whole state in memory before any checkpoint.
  bool checkpoints = false;            // Load and save them; if not, the rest has no meaning.
  bool first_node_saves = false;       // All of it; else each node its share.
  bool skip_busy_saves = false;        // Not saved at all rather than training waits (stager.h).
  std::uint64_t checkpoint_every = 0;  // Steps; 0: only when stopped and at the end.
  OptimizerConfig optimizer;
  Precision precision = Precision::kF32;
  LossScaling loss_scaling;
  OnNan on_nan = OnNan::kStop;
  // ZeRO-1: each node keeps and updates its part of the optimizer's state (shards.h).  The bits are
  // those of a run without it.
  bool zero1 = false;
  // False: sums in the order that is cheapest here; the bits then depend on who runs where.
  bool deterministic = true;
  RunFacts facts;  // Of the model and its data: what must be equal to go on.
};

// kInvalid: everything that is wrong with them, and what is allowed.
Status Check(const TrainOptions& options);

// What must be equal to go on with the same bits.  `parameters`: elements of the layout.
RunFacts FactsOf(const TrainOptions& options, std::uint64_t parameters);

}  // namespace muster
