// gpu_check: what can only be known on a machine with a GPU, without GoogleTest, MPI or gRPC.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "runtime/comm/group_nccl.h"

namespace muster::gpu {

struct Libraries {
  std::shared_ptr<const CudaLibrary> cuda;
  std::shared_ptr<const NcclLibrary> nccl;
  std::shared_ptr<const GpuKernels> kernels;
  int devices = 0;
};

// A row of the table at the end.
struct Row {
  std::string what, result;
  bool held = true;
};
using Table = std::vector<Row>;

// Memory of device 0 for the length of a check.  An error ends the program: there is no way on.
class DeviceMemory {
 public:
  DeviceMemory(const Libraries& libraries, std::size_t bytes);
  ~DeviceMemory();
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  void Put(const void* from);  // All bytes.
  void Get(void* to) const;
  template <typename T>
  T* as() const {
    return static_cast<T*>(memory_);
  }
  std::size_t bytes() const { return bytes_; }

 private:
  const Libraries& libraries_;
  const std::size_t bytes_;
  void* memory_ = nullptr;
  void* pinned_ = nullptr;
};

// The stream that all checks use.
CudaStream TheStream(const Libraries& libraries);
void AwaitStream(const Libraries& libraries);
void Must(const Status& status);
void MustCuda(const Libraries& libraries, int error, const std::string& doing);

void CheckKernels(const Libraries& libraries, Table& table);
void CheckModelKernels(const Libraries& libraries, Table& table);
void CheckGroups(const Libraries& libraries, Table& table);
void CheckCurve(const Libraries& libraries, Table& table);
void CheckRepeats(const Libraries& libraries, Table& table);
void Measure(const Libraries& libraries, Table& table);
void MeasureTraining(const Libraries& libraries, Table& table);
void MeasureStaging(const Libraries& libraries, Table& table);

}  // namespace muster::gpu
