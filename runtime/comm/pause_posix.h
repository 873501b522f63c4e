// Gives the core away between two looks at something that can only be polled.  Any thread.
#pragma once

namespace muster {

void PauseShort();  // About 0.1 ms.

}  // namespace muster
