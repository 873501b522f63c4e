// How a function reports a failure that a caller can act on.  No exception crosses a function of
// this project; a broken promise of our own code is a CHECK (check.h), not a Status.
//
// Pure values; usable on any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "runtime/base/check.h"

namespace muster {

// The codes are the ones that gRPC sends over the wire, so the rim maps them one to one.
enum class Code {
  kOk,
  kInvalid,  // The user erred: the message says what was found and what is allowed.
  kNotFound,
  kExists,
  kUnavailable,  // Try again later: a peer, a disk or a service is away.
  kDeadline,
  kAborted,  // Overtaken by a newer generation or attempt.
  kDenied,
  kExhausted,  // Disk, quota, memory or a bound of ours is full.
  kDataLoss,   // Bytes were read and are not what was written.
  kUnimplemented,
  kInternal
};

const char* CodeName(Code code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

  // "reading manifest: open /ckpt/7: no such file": each layer says what it was doing.
  Status While(std::string_view doing) && {
    if (!ok()) message_ = std::string(doing) + ": " + message_;
    return std::move(*this);
  }

  bool operator==(const Status&) const = default;

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

// A T, or the reason why there is none.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}         // NOLINT: `return value;` must read well.
  Result(Status status) : status_(std::move(status)) {  // NOLINT: and `return status;` too.
    CHECK(!status_.ok());
  }

  bool ok() const { return status_.ok(); }
  const Status& status() const& { return status_; }
  Status status() && { return std::move(status_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return *std::move(value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

}  // namespace muster

// Leaves the function with the Status when it is not ok.
#define RETURN_IF_ERROR(expression)                                             \
  do {                                                                          \
    if (::muster::Status status_ = (expression); !status_.ok()) return status_; \
  } while (0)
