// Rounds of sends and recvs (schedule.h) under way on a communicator.
//
// What comes is received only when its size is known to be right: Open MPI 4.1 writes behind the
// buffer when a long message is longer than that.  All of it with the MpiLock held.
#pragma once

#include <mpi.h>

#include <vector>

#include "runtime/base/result.h"
#include "runtime/comm/schedule.h"

namespace muster {

Status MpiStatus(const char* doing, int error);

class MpiRounds {
 public:
  MpiRounds(MPI_Comm comm, int tag, Schedule schedule);
  ~MpiRounds() { Cancel(); }
  MpiRounds(const MpiRounds&) = delete;
  MpiRounds& operator=(const MpiRounds&) = delete;

  bool Advance();                                   // True: something moved.
  bool matched() const { return unmatched_ == 0; }  // Everything that is to come, has a place.
  bool done() const { return round_ == schedule_.rounds.size(); }
  const Status& failed() const { return failed_; }
  void Missing(std::vector<int>& ranks) const;

 private:
  void Begin();
  void MatchAll();
  void Match(std::size_t i);
  void TestAll();
  void Cancel();

  const MPI_Comm comm_;
  const int tag_;
  Schedule schedule_;
  std::size_t round_ = 0;
  std::vector<MPI_Request> requests_;  // Null: ended, or not matched yet.
  std::vector<bool> ended_;
  std::vector<int> completed_;  // Of the last look.
  std::vector<MPI_Status> statuses_;
  std::size_t unmatched_ = 0;
  std::size_t left_ = 0;
  Status failed_;
};

}  // namespace muster
