// Something that the agent does at a job daemon's door for the coordinator, on threads of its own.
#pragma once

namespace muster {

class DoorErrand {
 public:
  virtual ~DoorErrand() = default;
  virtual bool done() const = 0;  // Any thread.
};

}  // namespace muster
