// The ranks of byte_gpt on GPUs, one each: threads of this process, or a process each under muster.
#pragma once

#include <string>

#include "examples/byte_gpt/options.h"
#include "runtime/base/rank_posix.h"
#include "runtime/base/result.h"

namespace muster {

// kUnavailable: no driver, no GPU, a library is missing, and what to do.
Status TrainCuda(const ByteGptOptions& options, const RankInfo& info, const std::string& text);

}  // namespace muster
