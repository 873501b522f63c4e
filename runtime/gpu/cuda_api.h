// What this runtime uses of CUDA's runtime library (11.2 and later), declared by itself: the
// library is looked for at run time, and nothing of it is needed to build.
//
// Source: the CUDA Runtime API reference and the binary interface of its functions.  A pure table.
#pragma once

#include <cstddef>

namespace muster {

using CudaStream = void*;
using CudaEvent = void*;

enum CudaError : int {
  kCudaSuccess = 0,
  kCudaInsufficientDriver = 35,
  kCudaNoDevice = 100,
  kCudaNotReady = 600,
  kCudaHostMemoryAlreadyRegistered = 712
};

enum CudaMemoryType : int {
  kCudaUnregistered = 0,  // Of the program: a device may not reach it.
  kCudaHost = 1,          // Pinned.
  kCudaDevice = 2,
  kCudaManaged = 3
};

struct CudaPointerAttributes {
  CudaMemoryType type = kCudaUnregistered;
  int device = 0;
  void* device_pointer = nullptr;
  void* host_pointer = nullptr;
  long reserved[8] = {};
};

inline constexpr unsigned kCudaStreamNonBlocking = 1;
inline constexpr unsigned kCudaHostRegisterPortable = 1;  // Pinned for every GPU.
inline constexpr unsigned kCudaEventDisableTiming = 2;
inline constexpr int kCudaComputeCapabilityMajor = 75;  // Of cudaDeviceGetAttribute.
inline constexpr int kCudaComputeCapabilityMinor = 76;
inline constexpr int kCudaMemcpyDefault = 4;  // The addresses say from where to where.

struct CudaApi {
  CudaError (*get_device_count)(int* count) = nullptr;
  CudaError (*set_device)(int device) = nullptr;
  CudaError (*get_last_error)() = nullptr;
  const char* (*get_error_string)(CudaError error) = nullptr;
  CudaError (*runtime_get_version)(int* version) = nullptr;
  CudaError (*driver_get_version)(int* version) = nullptr;
  CudaError (*stream_create_with_flags)(CudaStream* stream, unsigned flags) = nullptr;
  CudaError (*stream_destroy)(CudaStream stream) = nullptr;
  CudaError (*stream_query)(CudaStream stream) = nullptr;
  CudaError (*stream_wait_event)(CudaStream stream, CudaEvent event, unsigned flags) = nullptr;
  CudaError (*event_create_with_flags)(CudaEvent* event, unsigned flags) = nullptr;
  CudaError (*event_destroy)(CudaEvent event) = nullptr;
  CudaError (*event_record)(CudaEvent event, CudaStream stream) = nullptr;
  CudaError (*event_query)(CudaEvent event) = nullptr;
  CudaError (*malloc)(void** memory, std::size_t bytes) = nullptr;
  CudaError (*free)(void* memory) = nullptr;
  CudaError (*host_alloc)(void** memory, std::size_t bytes, unsigned flags) = nullptr;
  CudaError (*free_host)(void* memory) = nullptr;
  CudaError (*memcpy_async)(void* to, const void* from, std::size_t bytes, int kind,
                            CudaStream stream) = nullptr;
  CudaError (*memset_async)(void* memory, int value, std::size_t bytes,
                            CudaStream stream) = nullptr;
  CudaError (*host_register)(void* memory, std::size_t bytes, unsigned flags) = nullptr;
  CudaError (*host_unregister)(void* memory) = nullptr;
  CudaError (*device_get_attribute)(int* value, int attribute, int device) = nullptr;
  CudaError (*pointer_get_attributes)(CudaPointerAttributes* attributes,
                                      const void* pointer) = nullptr;
};

// visit(name, function): for each function of the table; all are needed.
template <typename Api, typename Visit>
void ForEachCudaSymbol(Api& api, Visit visit) {
  visit("cudaGetDeviceCount", api.get_device_count);
  visit("cudaSetDevice", api.set_device);
  visit("cudaGetLastError", api.get_last_error);
  visit("cudaGetErrorString", api.get_error_string);
  visit("cudaRuntimeGetVersion", api.runtime_get_version);
  visit("cudaDriverGetVersion", api.driver_get_version);
  visit("cudaStreamCreateWithFlags", api.stream_create_with_flags);
  visit("cudaStreamDestroy", api.stream_destroy);
  visit("cudaStreamQuery", api.stream_query);
  visit("cudaStreamWaitEvent", api.stream_wait_event);
  visit("cudaEventCreateWithFlags", api.event_create_with_flags);
  visit("cudaEventDestroy", api.event_destroy);
  visit("cudaEventRecord", api.event_record);
  visit("cudaEventQuery", api.event_query);
  visit("cudaMalloc", api.malloc);
  visit("cudaFree", api.free);
  visit("cudaHostAlloc", api.host_alloc);
  visit("cudaFreeHost", api.free_host);
  visit("cudaMemcpyAsync", api.memcpy_async);
  visit("cudaMemsetAsync", api.memset_async);
  visit("cudaHostRegister", api.host_register);
  visit("cudaHostUnregister", api.host_unregister);
  visit("cudaDeviceGetAttribute", api.device_get_attribute);
  visit("cudaPointerGetAttributes", api.pointer_get_attributes);
}

}  // namespace muster
