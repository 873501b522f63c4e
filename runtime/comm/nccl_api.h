// What this runtime uses of NCCL 2.18 to 2.30, declared by itself: the library is looked for at run
// time, and nothing of it is needed to build.
//
// Source: NCCL's user guide and the binary interface of its public functions.  A pure table;
// whoever fills it (nccl_library_nccl.h) says on which thread its functions may be called.
#pragma once

#include <climits>
#include <cstddef>

namespace muster {

struct NcclOpaqueComm;
using NcclComm = NcclOpaqueComm*;
using NcclWindow = void*;
using NcclStream = void*;  // A cudaStream_t.

// How ranks that are to be one communicator find each other: made by one, told to all.
struct NcclUniqueId {
  char bytes[128] = {};
};

enum NcclResult : int {
  kNcclSuccess = 0,
  kNcclUnhandledCudaError = 1,
  kNcclSystemError = 2,
  kNcclInternalError = 3,
  kNcclInvalidArgument = 4,
  kNcclInvalidUsage = 5,
  kNcclRemoteError = 6,
  kNcclInProgress = 7
};

enum NcclDataType : int {
  kNcclU8 = 1,
  kNcclI32 = 2,
  kNcclI64 = 4,
  kNcclF16 = 6,
  kNcclF32 = 7,
  kNcclF64 = 8,
  kNcclBF16 = 9
};

enum NcclRedOp : int { kNcclSum = 0, kNcclProd = 1, kNcclMax = 2, kNcclMin = 3, kNcclAvg = 4 };

inline constexpr int kNcclNoColor = -1;     // Of a split: this rank is in no part.
inline constexpr int kNcclShrinkAbort = 1;  // End what is under way on the old communicator.
inline constexpr int kNcclWindowCollSymmetric = 1;
inline constexpr std::size_t kNcclWindowAlignment = 4096;

// The members that 2.18 knows; `version` says so, and later ones get their defaults.
struct NcclConfig {
  static constexpr int kUndefined = INT_MIN;

  std::size_t size = sizeof(NcclConfig);
  unsigned int magic = 0xcafebeef;
  unsigned int version = 21800;
  int blocking = 0;  // Only such a communicator can be aborted safely.
  int cga_cluster_size = kUndefined;
  int min_ctas = kUndefined;
  int max_ctas = kUndefined;
  const char* net_name = nullptr;
  int split_share = kUndefined;
};

// Null: the library that was found has no such function.  ForEachNcclSymbol has their names.
struct NcclApi {
  NcclResult (*get_version)(int* version) = nullptr;
  NcclResult (*get_unique_id)(NcclUniqueId* id) = nullptr;
  const char* (*get_error_string)(NcclResult result) = nullptr;
  const char* (*get_last_error)(NcclComm comm) = nullptr;
  NcclResult (*comm_init_rank_config)(NcclComm* comm, int ranks, NcclUniqueId id, int rank,
                                      NcclConfig* config) = nullptr;
  NcclResult (*comm_finalize)(NcclComm comm) = nullptr;
  NcclResult (*comm_destroy)(NcclComm comm) = nullptr;
  NcclResult (*comm_abort)(NcclComm comm) = nullptr;
  NcclResult (*comm_get_async_error)(NcclComm comm, NcclResult* result) = nullptr;
  NcclResult (*comm_split)(NcclComm comm, int color, int key, NcclComm* part,
                           NcclConfig* config) = nullptr;
  NcclResult (*group_start)() = nullptr;
  NcclResult (*group_end)() = nullptr;
  NcclResult (*all_reduce)(const void* in, void* out, std::size_t count, NcclDataType type,
                           NcclRedOp op, NcclComm comm, NcclStream stream) = nullptr;
  NcclResult (*reduce)(const void* in, void* out, std::size_t count, NcclDataType type,
                       NcclRedOp op, int root, NcclComm comm, NcclStream stream) = nullptr;
  NcclResult (*reduce_scatter)(const void* in, void* out, std::size_t count, NcclDataType type,
                               NcclRedOp op, NcclComm comm, NcclStream stream) = nullptr;
  NcclResult (*all_gather)(const void* in, void* out, std::size_t count, NcclDataType type,
                           NcclComm comm, NcclStream stream) = nullptr;
  NcclResult (*broadcast)(const void* in, void* out, std::size_t count, NcclDataType type, int root,
                          NcclComm comm, NcclStream stream) = nullptr;
  NcclResult (*send)(const void* in, std::size_t count, NcclDataType type, int peer, NcclComm comm,
                     NcclStream stream) = nullptr;
  NcclResult (*recv)(void* out, std::size_t count, NcclDataType type, int peer, NcclComm comm,
                     NcclStream stream) = nullptr;

  // Newer than 2.18: each may be missing, together with what it is for.
  NcclResult (*mem_alloc)(void** memory, std::size_t bytes) = nullptr;
  NcclResult (*mem_free)(void* memory) = nullptr;
  NcclResult (*comm_window_register)(NcclComm comm, void* memory, std::size_t bytes,
                                     NcclWindow* window, int flags) = nullptr;
  NcclResult (*comm_window_deregister)(NcclComm comm, NcclWindow window) = nullptr;
  NcclResult (*comm_shrink)(NcclComm comm, int* excluded, int excluded_count, NcclComm* part,
                            NcclConfig* config, int flags) = nullptr;
  NcclResult (*comm_revoke)(NcclComm comm, int flags) = nullptr;
};

// visit(name, since, purpose, function): for each function of the table.  `since`: the first
// version that has it, as ncclGetVersion counts; `purpose`: what is lost without it, null where it
// is needed.
template <typename Api, typename Visit>
void ForEachNcclSymbol(Api& api, Visit visit) {
  constexpr int kFirst = 21800;
  constexpr const char* kNeeded = nullptr;
  visit("ncclGetVersion", kFirst, kNeeded, api.get_version);
  visit("ncclGetUniqueId", kFirst, kNeeded, api.get_unique_id);
  visit("ncclGetErrorString", kFirst, kNeeded, api.get_error_string);
  visit("ncclGetLastError", kFirst, kNeeded, api.get_last_error);
  visit("ncclCommInitRankConfig", kFirst, kNeeded, api.comm_init_rank_config);
  visit("ncclCommFinalize", kFirst, kNeeded, api.comm_finalize);
  visit("ncclCommDestroy", kFirst, kNeeded, api.comm_destroy);
  visit("ncclCommAbort", kFirst, kNeeded, api.comm_abort);
  visit("ncclCommGetAsyncError", kFirst, kNeeded, api.comm_get_async_error);
  visit("ncclCommSplit", kFirst, kNeeded, api.comm_split);
  visit("ncclGroupStart", kFirst, kNeeded, api.group_start);
  visit("ncclGroupEnd", kFirst, kNeeded, api.group_end);
  visit("ncclAllReduce", kFirst, kNeeded, api.all_reduce);
  visit("ncclReduce", kFirst, kNeeded, api.reduce);
  visit("ncclReduceScatter", kFirst, kNeeded, api.reduce_scatter);
  visit("ncclAllGather", kFirst, kNeeded, api.all_gather);
  visit("ncclBroadcast", kFirst, kNeeded, api.broadcast);
  visit("ncclSend", kFirst, kNeeded, api.send);
  visit("ncclRecv", kFirst, kNeeded, api.recv);
  visit("ncclMemAlloc", 21900, "memory from NCCL's own allocator", api.mem_alloc);
  visit("ncclMemFree", 21900, "memory from NCCL's own allocator", api.mem_free);
  visit("ncclCommWindowRegister", 22703, "symmetric memory", api.comm_window_register);
  visit("ncclCommWindowDeregister", 22703, "symmetric memory", api.comm_window_deregister);
  visit("ncclCommShrink", 22703, "shrink without a new id", api.comm_shrink);
  visit("ncclCommRevoke", 22807, "a stop that leaves the communicator to shrink", api.comm_revoke);
}

}  // namespace muster
