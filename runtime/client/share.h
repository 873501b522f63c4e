// Which rows of which tensors a rank writes: all of its own boxes, and of what every rank has an
// even part, cut at rows, that nobody need be asked about.
//
// Pure; any thread.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "runtime/client/muster_checkpoint.h"

#ifdef __cplusplus
extern "C" {
#endif

// Bytes of an element; 0: no dtype of safetensors.
uint64_t muster_item_bytes(const char* dtype);
// Of a tensor that muster_check_tensors passed.
uint64_t muster_tensor_bytes(const muster_tensor* tensor);

// 1, or 0 and a sentence in `complaint`.  `order`, of `count`: the tensors by name.
int muster_check_tensors(const muster_tensor* tensors, size_t count, size_t* order, char* complaint,
                         size_t room);

// A hash of the tensors that all ranks have: it must be the same on all of them.
uint64_t muster_common(const muster_tensor* tensors, size_t count, const size_t* order);

// At most one piece a tensor, without `into`; returns how many.  The shares of all ranks tile what
// every rank has, if all have the same.
size_t muster_share(const muster_tensor* tensors, size_t count, const size_t* order, uint32_t rank,
                    uint32_t ranks, muster_piece* pieces);

#ifdef __cplusplus
}
#endif
