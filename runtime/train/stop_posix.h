// SIGTERM as a wish to stop: finish the step, checkpoint, exit with 0.  Any thread.
#pragma once

namespace muster {

// Call once, before any thread starts.
void CatchStopSignal();
bool StopSignalSeen();

}  // namespace muster
