// gpu_check [PART...]: checks our kernels, the groups over NCCL and training on the GPUs of this
// machine, measures them, and prints one table.  Exit status: 0 all held, 1 something did not, 77
// there is no GPU to check on.
#include "tests/integration/gpu/gpu_check.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "runtime/base/check.h"
#include "runtime/comm/pause_posix.h"

namespace muster::gpu {

namespace {

Table& TheTable() {
  static Table table;
  return table;
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c < ' ' && c >= 0 ? ' ' : c;
  }
  return quoted + "\"";
}

// The table, and for scripts a last line of JSON.  Whether all held.
bool PrintAll() {
  bool held = true;
  std::printf("\n%-64s  %s\n", "gpu_check", "result");
  std::string json;
  for (const Row& row : TheTable()) {
    std::printf("%-64s  %s%s\n", row.what.c_str(), row.result.c_str(),
                row.held ? "" : "   <-- BROKEN");
    json += (json.empty() ? "" : ",") + ("{\"case\":" + Quoted(row.what)) +
            ",\"result\":" + Quoted(row.result) + ",\"held\":" + (row.held ? "true" : "false") +
            "}";
    held = held && row.held;
  }
  std::printf("gpu_check: %s\n", held ? "all held" : "FAILED");
  std::printf("{\"bench\":\"gpu\",\"held\":%s,\"cases\":[%s]}\n", held ? "true" : "false",
              json.c_str());
  return held;
}

}  // namespace

void Must(const Status& status) {
  if (status.ok()) return;
  TheTable().push_back({"ended early", status.message(), false});
  PrintAll();  // What was found until then.
  std::exit(1);
}

void MustCuda(const Libraries& libraries, int error, const std::string& doing) {
  Must(libraries.cuda->StatusOf(doing, CudaError{error}));
}

CudaStream TheStream(const Libraries& libraries) {
  static CudaStream stream = nullptr;
  if (stream == nullptr) {
    MustCuda(libraries, libraries.cuda->api().set_device(0), "choosing GPU 0");
    MustCuda(libraries,
             libraries.cuda->api().stream_create_with_flags(&stream, kCudaStreamNonBlocking),
             "a stream");
  }
  return stream;
}

void AwaitStream(const Libraries& libraries) {
  const TimePoint deadline = RealClock().Now() + std::chrono::seconds(60);
  for (;;) {
    const CudaError error = libraries.cuda->api().stream_query(TheStream(libraries));
    if (error == kCudaSuccess) return;
    if (error != kCudaNotReady) MustCuda(libraries, error, "waiting for the GPU");
    if (RealClock().Now() > deadline) Must(Status(Code::kDeadline, "the GPU does not answer"));
  }
}

DeviceMemory::DeviceMemory(const Libraries& libraries, std::size_t bytes)
    : libraries_(libraries), bytes_(bytes) {
  TheStream(libraries);
  MustCuda(libraries, libraries.cuda->api().malloc(&memory_, bytes), "memory of the GPU");
  MustCuda(libraries, libraries.cuda->api().host_alloc(&pinned_, bytes, 0), "pinned memory");
}

DeviceMemory::~DeviceMemory() {
  AwaitStream(libraries_);
  static_cast<void>(libraries_.cuda->api().free(memory_));
  static_cast<void>(libraries_.cuda->api().free_host(pinned_));
}

void DeviceMemory::Put(const void* from) {
  std::memcpy(pinned_, from, bytes_);
  MustCuda(libraries_,
           libraries_.cuda->api().memcpy_async(memory_, pinned_, bytes_, kCudaMemcpyDefault,
                                               TheStream(libraries_)),
           "a copy to the GPU");
  AwaitStream(libraries_);
}

void DeviceMemory::Get(void* to) const {
  MustCuda(libraries_,
           libraries_.cuda->api().memcpy_async(pinned_, memory_, bytes_, kCudaMemcpyDefault,
                                               TheStream(libraries_)),
           "a copy from the GPU");
  AwaitStream(libraries_);
  std::memcpy(to, pinned_, bytes_);
}

namespace {

int Skip(const std::string& why) {
  std::printf("gpu_check: SKIPPED, nothing was checked on a GPU: %s\n", why.c_str());
  return 77;
}

int Main(const std::vector<std::string>& wanted) {
  Libraries libraries;
  auto cuda = CudaLibrary::Load();
  if (!cuda.ok()) return Skip(cuda.status().message());
  libraries.cuda = *cuda;
  const auto devices = libraries.cuda->CountDevices();
  if (!devices.ok()) return Skip(devices.status().message());
  libraries.devices = *devices;
  // There is a GPU: from here on what is missing is a failure.
  auto nccl = NcclLibrary::Load();
  Must(nccl.status());
  libraries.nccl = *nccl;
  auto kernels = GpuKernels::Load();
  Must(kernels.status());
  libraries.kernels = *kernels;

  Table& table = TheTable();
  table.push_back({"GPUs", std::to_string(libraries.devices)});
  table.push_back({"CUDA runtime", std::to_string(libraries.cuda->version())});
  table.push_back({"NCCL", NcclVersionText(libraries.nccl->features().version)});
  const std::pair<const char*, void (*)(const Libraries&, Table&)> parts[] = {
      {"kernels", CheckKernels}, {"model", CheckModelKernels}, {"groups", CheckGroups},
      {"curve", CheckCurve},     {"repeats", CheckRepeats},    {"speed", Measure},
      {"mfu", MeasureTraining},  {"staging", MeasureStaging}};
  for (const auto& [name, run] : parts) {
    if (wanted.empty() || std::find(wanted.begin(), wanted.end(), name) != wanted.end()) {
      run(libraries, table);
    }
  }
  return PrintAll() ? 0 : 1;
}

}  // namespace
}  // namespace muster::gpu

int main(int argc, char** argv) {
  return muster::gpu::Main({argv + 1, argv + argc});
}
