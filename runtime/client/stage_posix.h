// Staging memories of the node, mapped where this rank's part lies, and kept: a save after the
// first ones finds its pages there.
//
// One thread at a time.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Where bytes [begin, begin + bytes) of the memory `fd` are; null: errno says why not.
void* muster_map_stage(int fd, uint64_t begin, uint64_t bytes);

#ifdef __cplusplus
}
#endif
