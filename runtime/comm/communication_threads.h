// A rank's thread for collectives that were started: it carries them out one after the other, in
// the order of their start.
//
// The thread begins with the first Start.  As long as nothing is in flight, Run stays on the
// caller's thread and costs no hand-over.
#pragma once

#include <functional>
#include <memory>
#include <thread>

#include "runtime/comm/process_group.h"

namespace muster {

class CommunicationThread {
 public:
  // Carries out one call, and returns soon once `abort` is set.
  using Body = std::function<Status(const Call& call)>;

  // A failure of what was started sets `abort`.
  CommunicationThread(Body body, AbortFlag& abort);
  // Aborts what is pending.
  ~CommunicationThread();
  CommunicationThread(const CommunicationThread&) = delete;
  CommunicationThread& operator=(const CommunicationThread&) = delete;

  Status Run(const Call& call);
  // kExhausted in the Work: a thousand calls are pending.
  std::unique_ptr<Work> Start(const Call& call);

 private:
  struct Queue;  // The works hold it, too.
  struct Item;
  class QueuedWork;

  static void Loop(Queue& queue, const Body& body, AbortFlag& abort);

  const Body body_;
  AbortFlag& abort_;
  const std::shared_ptr<Queue> queue_;
  std::jthread thread_;
};

}  // namespace muster
