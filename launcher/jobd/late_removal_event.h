// Folders that nobody needs any more, removed when nobody is in a hurry: what an attempt leaves is
// a hundred files, and the next attempt must not wait for them.
//
// The loop's thread only.
#pragma once

#include <event2/event.h>

#include <string>
#include <vector>

namespace muster {

class LateRemoval {
 public:
  explicit LateRemoval(event_base* base);
  ~LateRemoval();  // Removes the rest.
  LateRemoval(const LateRemoval&) = delete;
  LateRemoval& operator=(const LateRemoval&) = delete;

  void Add(const std::string& folder);
  // Now.
  void RemoveAll();

 private:
  static void OnTime(evutil_socket_t, short, void* self);

  std::vector<std::string> folders_;
  event* const time_;
};

}  // namespace muster
