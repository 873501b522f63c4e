// Gives the core away between two looks at something that can only be polled.  Any thread.
#pragma once

namespace muster {

void PauseShort();  // About 0.1 ms.

// This thread has little to do, but soon: it asks the kernel for the shortest slices, 0.1 ms, so
// that it takes the core from a thread that computes when it wakes, not when that one's slice ends.
// Heard by Linux 6.12 and newer.
void WakeSoon();

}  // namespace muster
