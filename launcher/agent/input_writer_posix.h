// What rank 0 reads from, as the agent writes to it.
//
// Of a pipe this is the only writer; of a terminal the job daemon keeps its own.
#pragma once

#include <cstdint>
#include <string_view>

#include "launcher/agent/exec_door_posix.h"

namespace muster {

class InputWriter {
 public:
  // Asks the job daemon for it; kAborted when rank 0 has ended, or once `stop` is readable.
  static Result<InputWriter> Take(const ExecDoorPlace& door, AttemptNumber attempt, int stop);

  // All of it, at the rank's pace; false: nobody reads any more, or `stop` is readable.
  bool Put(std::string_view bytes, int stop) const;
  void Resize(std::uint32_t rows, std::uint32_t columns) const;
  // Until nobody reads any more; false: `stop` was first.  Any thread.
  bool AwaitClosed(int stop) const;
  // With this the rank's input ends.
  void Close();

 private:
  UniqueFd daemon_;  // As long as it is open, the input has not ended.
  UniqueFd fd_;      // Never blocks.
};

}  // namespace muster
