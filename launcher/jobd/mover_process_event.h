// The mover of this job and node as a child: requests out, answers in, in order.
//
// Started at the first request, and again at the next one after it died.  A request that it died
// over is answered Failed with kUnavailable; one over which it has not moved for `patience`, with
// kDeadline and where it stands.  Such a mover is killed, and left behind when it does not die (in
// a system call on a dead share): the next request gets a new one.  The loop's thread only; answers
// come from the loop.
#pragma once

#include <event2/event.h>
#include <sys/types.h>

#include <deque>
#include <functional>
#include <set>
#include <string>

#include "runtime/base/clock.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/mover.h"
#include "runtime/base/mover_progress.h"

namespace muster {

class MoverProcess {
 public:
  using Answer = std::function<void(const mover::FromMover&, UniqueFd payload)>;

  explicit MoverProcess(event_base* base) : base_(base) {}
  ~MoverProcess();
  MoverProcess(const MoverProcess&) = delete;
  MoverProcess& operator=(const MoverProcess&) = delete;

  // `local`: the folder that MovePart reads from.
  void SetStore(const std::string& store, const std::string& run, Duration patience,
                const std::string& local = "");
  // Where there is none: from now on no request stands still for longer than that.
  void LimitPatience(Duration most);
  void Ask(const mover::ToMover& request, Answer answer, UniqueFd payload = UniqueFd());

  // Something was asked and not answered yet.
  bool busy() const { return !asked_.empty(); }
  void Kill();
  bool Reaped(pid_t pid);
  std::set<pid_t> pids() const;

 private:
  struct Asked {
    std::string body;
    UniqueFd payload;
    Answer answer;
    bool sent = false;
  };

  static void OnReadable(evutil_socket_t, short, void* self);
  static void OnWritable(evutil_socket_t, short, void* self);
  static void OnLook(evutil_socket_t, short, void* self);
  Status StartChild();
  void Flush();
  void Hear();
  void Lose(const Status& why);
  Result<UniqueFd> MakeProgressPage();
  void LookAfter();
  void Look();

  event_base* const base_;
  mover::Open open_;
  pid_t pid_ = 0;
  UniqueFd socket_;
  event* readable_ = nullptr;
  event* writable_ = nullptr;
  event* look_ = nullptr;
  Duration patience_{};
  mover::Progress* progress_ = nullptr;  // A page of its own for each mover.
  TimePoint asked_at_{}, moved_at_{};    // The first of `asked_`.
  std::uint64_t moves_ = 0;
  std::set<pid_t> left_behind_;  // Killed, and not dead yet.
  std::deque<Asked> asked_;      // The first ones were sent.
};

}  // namespace muster
