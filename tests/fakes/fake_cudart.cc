#include "tests/fakes/fake_cudart.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <set>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/mutex.h"

namespace muster::testing {
namespace {

constexpr CudaError kInvalidValue{1};
constexpr CudaError kOutOfMemory{2};

struct Stream {
  int device = 0;
  std::deque<std::unique_ptr<FakeWork>> works;
  bool stalled = false;
};

struct Event {
  std::uint64_t recorded = 0;
  std::uint64_t reached = 0;
};

// Memory of all devices, twice in the address space.
class Arena {
 public:
  static constexpr std::size_t kBytes = std::size_t{1} << 31U;
  static constexpr std::size_t kGrain = 4096;

  Arena() {
    const int fd = memfd_create("fake-device", MFD_CLOEXEC);
    CHECK(fd >= 0 && ftruncate(fd, kBytes) == 0);
    constexpr int kFlags = MAP_SHARED | MAP_NORESERVE;
    device_ = static_cast<std::byte*>(mmap(nullptr, kBytes, PROT_NONE, kFlags, fd, 0));
    host_ = static_cast<std::byte*>(mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, kFlags, fd, 0));
    CHECK(device_ != MAP_FAILED && host_ != MAP_FAILED);
    close(fd);
  }

  void* Take(std::size_t bytes, int device) {
    const std::size_t size = (std::max<std::size_t>(bytes, 1) + kGrain - 1) / kGrain * kGrain;
    std::size_t at = 0;
    for (const auto& [begin, taken] : blocks_) {
      if (begin - at >= size) break;
      at = begin + taken;
    }
    if (at + size > kBytes) return nullptr;
    blocks_[at] = size;
    owners_[device_ + at] = device;
    return device_ + at;
  }

  bool Free(void* memory) {
    return blocks_.erase(static_cast<std::size_t>(static_cast<std::byte*>(memory) - device_)) == 1;
  }

  int OwnerOf(const void* memory) const {
    const auto owner = owners_.find(memory);
    return owner == owners_.end() ? 0 : owner->second;
  }

  void* Host(const void* memory) const {
    const auto* at = static_cast<const std::byte*>(memory);
    return at >= device_ && at < device_ + kBytes ? host_ + (at - device_) : nullptr;
  }

 private:
  std::byte* device_ = nullptr;
  std::byte* host_ = nullptr;
  std::map<std::size_t, std::size_t> blocks_;
  std::map<const void*, int> owners_;
};

struct World {
  Mutex mutex;
  int devices = 8;
  Arena arena;
  std::vector<Stream*> streams;
  std::set<std::shared_ptr<Event>*> events;  // Those that a group abandons stay.
  struct Pinned {
    std::size_t bytes = 0;
    int device = 0;
  };
  std::map<std::uintptr_t, Pinned> pinned;
  std::vector<std::string> violations;
  std::string told;
};

World& TheWorld() {
  static auto* world = new World;  // NOLINT: threads may outlive main.
  return *world;
}

thread_local int current_device = 0;

bool Pinned(const void* memory) {
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  auto& pinned = TheWorld().pinned;
  auto next = pinned.upper_bound(at);
  if (next == pinned.begin()) return false;
  --next;
  return at < next->first + next->second.bytes;
}

void RefuseWhilePending(const char* what, int device) {
  for (const Stream* stream : TheWorld().streams) {
    if (stream->device == device && !stream->works.empty()) {
      fake_cuda_violation((std::string(what) + " while work is pending may wait for it").c_str());
      return;
    }
  }
}

class Copying final : public FakeWork {
 public:
  Copying(void* to, const void* from, std::size_t bytes) : to_(to), from_(from), bytes_(bytes) {}
  bool TryRun() override {
    std::memmove(to_, from_, bytes_);
    return true;
  }

 private:
  void* const to_;
  const void* const from_;
  const std::size_t bytes_;
};

class Filling final : public FakeWork {
 public:
  Filling(void* to, int value, std::size_t bytes) : to_(to), value_(value), bytes_(bytes) {}
  bool TryRun() override {
    std::memset(to_, value_, bytes_);
    return true;
  }

 private:
  void* const to_;
  const int value_;
  const std::size_t bytes_;
};

class Recording final : public FakeWork {
 public:
  Recording(std::shared_ptr<Event> event, std::uint64_t number)
      : event_(std::move(event)), number_(number) {}
  bool TryRun() override {
    event_->reached = std::max(event_->reached, number_);
    return true;
  }

 private:
  const std::shared_ptr<Event> event_;
  const std::uint64_t number_;
};

class Waiting final : public FakeWork {
 public:
  Waiting(std::shared_ptr<Event> event, std::uint64_t number)
      : event_(std::move(event)), number_(number) {}
  bool TryRun() override { return event_->reached >= number_; }

 private:
  const std::shared_ptr<Event> event_;
  const std::uint64_t number_;
};

std::shared_ptr<Event>& EventOf(CudaEvent event) {
  return *static_cast<std::shared_ptr<Event>*>(event);
}

void Push(CudaStream stream, std::unique_ptr<FakeWork> work) {
  static_cast<Stream*>(stream)->works.push_back(std::move(work));
  fake_cuda_progress();
}

}  // namespace

// NOLINTBEGIN(readability-identifier-naming): the names are CUDA's, and those of a C interface.

// The lock of whoever calls the two, so that no function here can be held to give it back.
FAKE_API MUSTER_TSA(no_thread_safety_analysis) void fake_cuda_lock() {
  TheWorld().mutex.lock();
}
FAKE_API MUSTER_TSA(no_thread_safety_analysis) void fake_cuda_unlock() {
  TheWorld().mutex.unlock();
}
FAKE_API void fake_cuda_push(CudaStream stream, FakeWork* owned) {
  Push(stream, std::unique_ptr<FakeWork>(owned));
}
FAKE_API void* fake_cuda_host(const void* memory) {
  void* alias = TheWorld().arena.Host(memory);
  if (alias == nullptr && Pinned(memory)) alias = const_cast<void*>(memory);
  return alias;
}
FAKE_API void fake_cuda_violation(const char* what) {
  TheWorld().violations.emplace_back(what);
}
FAKE_API void fake_cuda_progress() {
  for (bool moved = true; moved;) {
    moved = false;
    for (Stream* stream : TheWorld().streams) {
      while (!stream->stalled && !stream->works.empty() && stream->works.front()->TryRun()) {
        stream->works.pop_front();
        moved = true;
      }
    }
  }
}
FAKE_API void fake_cuda_set_devices(int count) {
  MutexLock lock(TheWorld().mutex);
  TheWorld().devices = count;
}
FAKE_API void fake_cuda_stall(CudaStream stream, int stalled) {
  MutexLock lock(TheWorld().mutex);
  static_cast<Stream*>(stream)->stalled = stalled != 0;
}
FAKE_API const char* fake_cuda_violations() {
  MutexLock lock(TheWorld().mutex);
  auto& world = TheWorld();
  world.told.clear();
  for (const std::string& one : world.violations) world.told += one + "\n";
  return world.told.c_str();
}
FAKE_API void fake_cuda_forget_violations() {
  MutexLock lock(TheWorld().mutex);
  TheWorld().violations.clear();
}

FAKE_API CudaError cudaGetDeviceCount(int* count) {
  MutexLock lock(TheWorld().mutex);
  *count = TheWorld().devices;
  return *count == 0 ? kCudaNoDevice : kCudaSuccess;
}
FAKE_API CudaError cudaSetDevice(int device) {
  MutexLock lock(TheWorld().mutex);
  if (device < 0 || device >= TheWorld().devices) return CudaError{101};
  current_device = device;
  return kCudaSuccess;
}
FAKE_API CudaError cudaGetLastError() {
  return kCudaSuccess;
}
FAKE_API const char* cudaGetErrorString(CudaError error) {
  return error == kCudaSuccess ? "no error" : "the fake CUDA says no";
}
FAKE_API CudaError cudaRuntimeGetVersion(int* version) {
  *version = 13000;
  return kCudaSuccess;
}
FAKE_API CudaError cudaDriverGetVersion(int* version) {
  *version = 13000;
  return kCudaSuccess;
}
FAKE_API CudaError cudaStreamCreateWithFlags(CudaStream* stream, unsigned) {
  MutexLock lock(TheWorld().mutex);
  auto* made = new Stream{.device = current_device, .works = {}};
  TheWorld().streams.push_back(made);
  *stream = made;
  return kCudaSuccess;
}
FAKE_API CudaError cudaStreamDestroy(CudaStream stream) {
  MutexLock lock(TheWorld().mutex);
  auto* gone = static_cast<Stream*>(stream);
  if (!gone->works.empty()) fake_cuda_violation("cudaStreamDestroy with work in the stream");
  std::erase(TheWorld().streams, gone);
  delete gone;
  return kCudaSuccess;
}
FAKE_API CudaError cudaStreamQuery(CudaStream stream) {
  MutexLock lock(TheWorld().mutex);
  fake_cuda_progress();
  return static_cast<Stream*>(stream)->works.empty() ? kCudaSuccess : kCudaNotReady;
}
FAKE_API CudaError cudaStreamWaitEvent(CudaStream stream, CudaEvent event, unsigned) {
  MutexLock lock(TheWorld().mutex);
  Push(stream, std::make_unique<Waiting>(EventOf(event), EventOf(event)->recorded));
  return kCudaSuccess;
}
FAKE_API CudaError cudaEventCreateWithFlags(CudaEvent* event, unsigned) {
  MutexLock lock(TheWorld().mutex);
  auto* made = new std::shared_ptr<Event>(std::make_shared<Event>());
  TheWorld().events.insert(made);
  *event = made;
  return kCudaSuccess;
}
FAKE_API CudaError cudaEventDestroy(CudaEvent event) {
  MutexLock lock(TheWorld().mutex);
  auto* gone = static_cast<std::shared_ptr<Event>*>(event);
  TheWorld().events.erase(gone);
  delete gone;
  return kCudaSuccess;
}
FAKE_API CudaError cudaEventRecord(CudaEvent event, CudaStream stream) {
  MutexLock lock(TheWorld().mutex);
  Push(stream, std::make_unique<Recording>(EventOf(event), ++EventOf(event)->recorded));
  return kCudaSuccess;
}
FAKE_API CudaError cudaEventQuery(CudaEvent event) {
  MutexLock lock(TheWorld().mutex);
  fake_cuda_progress();
  return EventOf(event)->reached >= EventOf(event)->recorded ? kCudaSuccess : kCudaNotReady;
}
FAKE_API CudaError cudaMalloc(void** memory, std::size_t bytes) {
  MutexLock lock(TheWorld().mutex);
  *memory = TheWorld().arena.Take(bytes, current_device);
  return *memory == nullptr ? kOutOfMemory : kCudaSuccess;
}
FAKE_API CudaError cudaFree(void* memory) {
  MutexLock lock(TheWorld().mutex);
  RefuseWhilePending("cudaFree", TheWorld().arena.OwnerOf(memory));
  return TheWorld().arena.Free(memory) ? kCudaSuccess : kInvalidValue;
}
FAKE_API CudaError cudaHostAlloc(void** memory, std::size_t bytes, unsigned) {
  MutexLock lock(TheWorld().mutex);
  *memory = ::operator new(std::max<std::size_t>(bytes, 1));
  TheWorld().pinned[reinterpret_cast<std::uintptr_t>(*memory)] = {bytes, current_device};
  return kCudaSuccess;
}
FAKE_API CudaError cudaFreeHost(void* memory) {
  MutexLock lock(TheWorld().mutex);
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  RefuseWhilePending("cudaFreeHost", TheWorld().pinned[at].device);
  TheWorld().pinned.erase(at);
  ::operator delete(memory);
  return kCudaSuccess;
}
FAKE_API CudaError cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, int,
                                   CudaStream stream) {
  MutexLock lock(TheWorld().mutex);
  void* host_to = fake_cuda_host(to);
  const void* host_from = fake_cuda_host(from);
  if (host_to == nullptr || host_from == nullptr) {
    fake_cuda_violation("cudaMemcpyAsync of memory that is not pinned waits for the stream");
    return kInvalidValue;
  }
  Push(stream, std::make_unique<Copying>(host_to, host_from, bytes));
  return kCudaSuccess;
}
FAKE_API CudaError cudaMemsetAsync(void* memory, int value, std::size_t bytes, CudaStream stream) {
  MutexLock lock(TheWorld().mutex);
  void* to = fake_cuda_host(memory);
  if (to == nullptr) return kInvalidValue;
  Push(stream, std::make_unique<Filling>(to, value, bytes));
  return kCudaSuccess;
}
FAKE_API CudaError cudaHostRegister(void* memory, std::size_t bytes, unsigned) {
  MutexLock lock(TheWorld().mutex);
  if (Pinned(memory)) return kCudaHostMemoryAlreadyRegistered;
  TheWorld().pinned[reinterpret_cast<std::uintptr_t>(memory)] = {bytes, current_device};
  return kCudaSuccess;
}
FAKE_API CudaError cudaHostUnregister(void* memory) {
  MutexLock lock(TheWorld().mutex);
  const auto at = reinterpret_cast<std::uintptr_t>(memory);
  RefuseWhilePending("cudaHostUnregister", TheWorld().pinned[at].device);
  return TheWorld().pinned.erase(at) == 1 ? kCudaSuccess : kInvalidValue;
}
FAKE_API CudaError cudaDeviceGetAttribute(int* value, int attribute, int) {
  *value = attribute == kCudaComputeCapabilityMajor ? 9 : 0;
  return kCudaSuccess;
}
FAKE_API CudaError cudaPointerGetAttributes(CudaPointerAttributes* attributes,
                                            const void* pointer) {
  MutexLock lock(TheWorld().mutex);
  *attributes = {};
  if (TheWorld().arena.Host(pointer) != nullptr) {
    attributes->type = kCudaDevice;
    attributes->device = current_device;  // Ranks are threads: whose it is, is not looked at.
  } else if (Pinned(pointer)) {
    attributes->type = kCudaHost;
  }
  return kCudaSuccess;
}

// NOLINTEND(readability-identifier-naming): the names are CUDA's.

}  // namespace muster::testing
