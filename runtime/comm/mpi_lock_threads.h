// Held around every call of MPI while work is started, since MPI is entered by one thread at a time
// (MPI_THREAD_SERIALIZED).  A program that calls MPI itself beside started work does the same.
#pragma once

#include "runtime/base/mutex.h"

namespace muster {

class MpiLock {
 public:
  MpiLock() { TheMutex().lock(); }
  ~MpiLock() { TheMutex().unlock(); }
  MpiLock(const MpiLock&) = delete;
  MpiLock& operator=(const MpiLock&) = delete;

 private:
  // MPI is one for the process; so is its lock.
  static Mutex& TheMutex() {
    static Mutex mutex;
    return mutex;
  }
};

}  // namespace muster
