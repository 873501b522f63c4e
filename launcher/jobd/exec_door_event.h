// The socket at which agents ask for programs to be run beside a rank, and for what rank 0 reads
// from (exec.h); and those programs.
//
// No output and no input passes here: it goes into descriptors that come with the question, or with
// the answer.  Nothing here waits; the loop's thread only.
#pragma once

#include <event2/event.h>
#include <event2/listener.h>
#include <sys/types.h>

#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>

#include "launcher/jobd/channel_event.h"
#include "launcher/jobd/spawn_posix.h"
#include "runtime/base/exec.h"
#include "runtime/base/file_posix.h"

namespace muster {

class ExecDoor {
 public:
  // Makes ready what is to be started, but for its descriptors.
  using Prepare = std::function<Result<Spawn>(const ExecAsked&)>;
  struct Input {
    // Gives away what rank 0 reads from, once.
    std::function<Result<UniqueFd>(const ExecAsked&)> take;
    // Who had it writes no more.
    std::function<void(AttemptNumber)> end;
  };

  // Has the flight recorders written down; a number for Dumped().
  using Dump = std::function<std::uint64_t()>;

  ExecDoor(event_base* base, Prepare prepare, Input input, Dump dump);
  ~ExecDoor();
  ExecDoor(const ExecDoor&) = delete;
  ExecDoor& operator=(const ExecDoor&) = delete;

  Status Listen(const std::string& path);

  // A child ended; false when it was none of these.
  bool Reaped(pid_t pid, int wait_status);

  // All dumps up to this number lie beside the logs.
  void Dumped(std::uint64_t number);

  // Kills them all.
  void EndAll();

 private:
  struct Caller {
    ExecDoor* door = nullptr;
    UniqueFd fd;  // Until its descriptors came.
    event* readable = nullptr;
    UniqueFd out, err;
    std::unique_ptr<FrameChannel> channel;
    std::optional<AttemptNumber> writes;  // Has the input of rank 0 of this attempt.
    std::optional<std::uint64_t> dump;    // Waits for it.
    pid_t pid = 0;                        // 0: not started, or ended.
    UniqueFd report;
    std::string program;
    Caller() = default;
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
    ~Caller();
  };

  static void OnAccept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void* self);
  static void OnDescriptors(evutil_socket_t, short, void* caller);
  // None, or two; false: they did not come, and never will.
  bool TakeDescriptors(Caller& caller);
  void Asked(Caller& caller, std::string_view body);
  void AskedForInput(Caller& caller, const ExecAsked& asked);
  void Say(Caller& caller, const ExecSaid& said);
  void Forget(Caller& caller);

  event_base* const base_;
  const Prepare prepare_;
  const Input input_;
  const Dump dump_;
  evconnlistener* listener_ = nullptr;
  std::string path_;
  std::list<Caller> callers_;
};

}  // namespace muster
