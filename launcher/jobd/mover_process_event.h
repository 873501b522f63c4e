// The mover of this job and node as a child: requests out, answers in, in order.
//
// Started at the first request, and again at the next one after it died.  A request that it died
// over is answered Failed with kUnavailable.  The loop's thread only; answers come from the loop.
#pragma once

#include <event2/event.h>
#include <sys/types.h>

#include <deque>
#include <functional>
#include <set>
#include <string>

#include "runtime/base/file_posix.h"
#include "runtime/base/mover.h"

namespace muster {

class MoverProcess {
 public:
  using Answer = std::function<void(const mover::FromMover&, UniqueFd payload)>;

  explicit MoverProcess(event_base* base) : base_(base) {}
  ~MoverProcess();
  MoverProcess(const MoverProcess&) = delete;
  MoverProcess& operator=(const MoverProcess&) = delete;

  void SetStore(const std::string& store, const std::string& run);
  void Ask(const mover::ToMover& request, Answer answer, UniqueFd payload = UniqueFd());

  // Something was asked and not answered yet.
  bool busy() const { return !asked_.empty(); }
  void Kill();
  bool Reaped(pid_t pid);
  std::set<pid_t> pids() const { return pid_ > 0 ? std::set<pid_t>{pid_} : std::set<pid_t>(); }

 private:
  struct Asked {
    std::string body;
    UniqueFd payload;
    Answer answer;
    bool sent = false;
  };

  static void OnReadable(evutil_socket_t, short, void* self);
  static void OnWritable(evutil_socket_t, short, void* self);
  Status StartChild();
  void Flush();
  void Hear();
  void Lose(const Status& why);

  event_base* const base_;
  mover::Open open_;
  pid_t pid_ = 0;
  UniqueFd socket_;
  event* readable_ = nullptr;
  event* writable_ = nullptr;
  std::deque<Asked> asked_;  // The first ones were sent.
};

}  // namespace muster
