// The connections to an NFS server, and the calls on them.
//
// libnfs carries the calls and does nothing else: connections that break, or on which nothing moves
// while the server owes an answer, are made again here, with a pause that doubles; a call whose
// answer was lost with its connection is told so, and its caller decides (repeats it, or looks).
// A server that answers nothing for the URL's timeout is an error.  One thread; no call may be
// started from inside an OnReply.
#pragma once

#include <nfsc/libnfs.h>
// libnfs-raw.h needs libnfs.h before it.
#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-raw.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/result.h"
#include "runtime/checkpoint/nfs_url.h"

namespace muster::checkpoint {

// An NFS file handle: a few bytes that mean something to the server only.
using FileHandle = std::string;
nfs_fh3 ToNfs(const FileHandle& handle);  // Points into `handle`.
FileHandle FromNfs(const nfs_fh3& handle);

// Queues one call on a connection; 0 if it could.
using SendCall = std::function<int(rpc_context*, rpc_cb, void*)>;
// Gets the decoded result while it is valid, or null: the answer was lost.
using OnReply = std::function<void(void* result)>;

// The call `procedure(arguments)`.  What the arguments point to must live until it is queued.
template <typename Arguments>
SendCall CallOf(int (*procedure)(rpc_context*, rpc_cb, Arguments*, void*), Arguments arguments) {
  return [procedure, arguments](rpc_context* rpc, rpc_cb reply, void* data) mutable {
    return procedure(rpc, reply, &arguments, data);
  };
}

// What poll(2) said about a socket, in words; empty if nothing is wrong.
std::string SocketTrouble(int fd, int events);

// Makes the rpc_contexts: who we are (user, groups), and numbers of calls that no other life used.
rpc_context* NewContext();

class NfsSession {
 public:
  // `address` is numeric.  Connects when it is first used.
  NfsSession(NfsUrl url, std::string address);
  ~NfsSession();
  NfsSession(const NfsSession&) = delete;
  NfsSession& operator=(const NfsSession&) = delete;

  // Starts a call that carries `bytes` of data on the least busy connection; false: no connection
  // can take it now, Turn first.
  bool Start(std::size_t bytes, const SendCall& send, OnReply on_reply);
  // Waits until something has happened, or only sees what has.  An error: the server has been
  // silent for too long, counted from the last answer or from Begin; nothing is on its way any more
  // then.
  enum class Wait { kForSomething, kNot };
  Status Turn(Wait wait = Wait::kForSomething);
  // The caller starts something: the server's time runs from now, unless it owes answers already.
  void Begin();
  // The server answered that it is busy (JUKEBOX): nothing starts for a while, and its time runs
  // on.
  void Busy();

  // One call and its answer.  nullopt: lost.  Busy answers are waited out.
  Result<std::optional<nfsstat3>> Try(const SendCall& send, const OnReply& read);
  // The same for a call that may be repeated as it is.
  Result<nfsstat3> Ask(const SendCall& send, const OnReply& read);

  std::size_t bytes_in_flight() const { return bytes_; }
  const NfsUrl& url() const { return url_; }

 private:
  struct Connection;
  struct Call;
  static void OnCall(rpc_context* rpc, int status, void* data, void* private_data);
  static void OnConnect(rpc_context* rpc, int status, void* data, void* private_data);
  void Connect(Connection& connection);
  void Drop(Connection& connection, const std::string& why);
  void Service(Connection& connection, int events);
  bool Overdue(Connection& connection, TimePoint now) const;
  TimePoint WakeUp(TimePoint now) const;
  Duration Patience() const;  // With one connection.

  const NfsUrl url_;
  const std::string address_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::size_t wanted_ = 1;  // Connections that are kept up: all from the first bulk transfer on.
  std::size_t bytes_ = 0;
  TimePoint progress_;
  TimePoint busy_until_;
  std::string last_error_;
};

}  // namespace muster::checkpoint
