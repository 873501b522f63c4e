// One rank of byte_gpt as a process of an MPI job that muster or mpirun launched.
#pragma once

#include <string>

#include "examples/byte_gpt/options.h"
#include "runtime/base/rank_posix.h"
#include "runtime/base/result.h"

namespace muster {

// On failure the process must end at once and without MPI's help, so that its launcher ends the
// others: nobody cleans up here.
Status TrainMpi(const ByteGptOptions& options, const RankInfo& info, const std::string& text);

}  // namespace muster
