// How the fake kernels get into a stream of the fake CUDA: with memory that the device reaches, or
// as a violation.
#pragma once

#include <functional>
#include <type_traits>
#include <utility>

#include "tests/fakes/fake_cudart.h"

#define FAKE_KERNEL extern "C" __attribute__((visibility("default")))

namespace muster::testing {

// Holds the fakes' lock.  One kernel.
class FakeLaunch {
 public:
  static constexpr int kInvalidValue = 1;

  explicit FakeLaunch(void* stream) : stream_(stream) { fake_cuda_lock(); }
  ~FakeLaunch() { fake_cuda_unlock(); }
  FakeLaunch(const FakeLaunch&) = delete;
  FakeLaunch& operator=(const FakeLaunch&) = delete;

  // Where the host finds it.
  template <typename T>
  T* At(T* memory) {
    auto* there = static_cast<std::remove_const_t<T>*>(fake_cuda_host(memory));
    if (there == nullptr) Refuse("a kernel over memory that the device does not reach");
    return there;
  }
  template <typename T>
  T* IfThere(T* memory) {
    return memory == nullptr ? nullptr : At(memory);
  }
  void Refuse(const char* why) {
    if (reachable_) fake_cuda_violation(why);
    reachable_ = false;
  }

  // What the kernel returns.
  int Run(std::function<void()> body) {
    if (!reachable_) return kInvalidValue;
    fake_cuda_push(stream_, new Doing(std::move(body)));
    return 0;
  }

 private:
  class Doing final : public FakeWork {
   public:
    explicit Doing(std::function<void()> body) : body_(std::move(body)) {}
    bool TryRun() override {
      body_();
      return true;
    }

   private:
    const std::function<void()> body_;
  };

  void* const stream_;
  bool reachable_ = true;
};

}  // namespace muster::testing
