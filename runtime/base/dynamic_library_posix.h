// A shared library that is looked for at run time, for what a machine may or may not have.
//
// It is never closed: CUDA and NCCL keep threads and exit handlers of their own.  Any thread.
#pragma once

#include <span>
#include <string>

#include "runtime/base/result.h"

namespace muster {

class DynamicLibrary {
 public:
  // The first of `candidates` (names for the loader, or paths) that can be loaded.  kUnavailable:
  // none can; the message has the loader's own words for each.
  static Result<DynamicLibrary> Open(std::span<const std::string> candidates);

  // Where a file would lie in the folder of the running program.
  static std::string BesideProgram(const std::string& name);

  // Where it was found.
  const std::string& path() const { return path_; }
  // Null: it exports no such symbol.
  void* Find(const std::string& symbol) const;

 private:
  DynamicLibrary(void* handle, std::string path) : handle_(handle), path_(std::move(path)) {}

  void* handle_;
  std::string path_;
};

}  // namespace muster
