// The socket at which agents ask for programs to be run beside a rank (exec.h), and those programs.
//
// Their output never passes here: it goes into descriptors that come with the question.  Nothing
// here waits; the loop's thread only.
#pragma once

#include <event2/event.h>
#include <event2/listener.h>
#include <sys/types.h>

#include <functional>
#include <list>
#include <memory>
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

  ExecDoor(event_base* base, Prepare prepare);
  ~ExecDoor();
  ExecDoor(const ExecDoor&) = delete;
  ExecDoor& operator=(const ExecDoor&) = delete;

  Status Listen(const std::string& path);

  // A child ended; false when it was none of these.
  bool Reaped(pid_t pid, int wait_status);

  // Kills them all.
  void EndAll();

 private:
  struct Caller {
    ExecDoor* door = nullptr;
    UniqueFd fd;  // Until its descriptors came.
    event* readable = nullptr;
    UniqueFd out, err;
    std::unique_ptr<FrameChannel> channel;
    pid_t pid = 0;  // 0: not started, or ended.
    UniqueFd report;
    std::string program;
    Caller() = default;
    Caller(const Caller&) = delete;
    Caller& operator=(const Caller&) = delete;
    ~Caller();
  };

  static void OnAccept(evconnlistener*, evutil_socket_t fd, sockaddr*, int, void* self);
  static void OnDescriptors(evutil_socket_t, short, void* caller);
  // False: they did not come, and never will.
  bool TakeDescriptors(Caller& caller);
  void Asked(Caller& caller, std::string_view body);
  void Say(Caller& caller, const ExecSaid& said);
  void Forget(Caller& caller);

  event_base* const base_;
  const Prepare prepare_;
  evconnlistener* listener_ = nullptr;
  std::string path_;
  std::list<Caller> callers_;
};

}  // namespace muster
