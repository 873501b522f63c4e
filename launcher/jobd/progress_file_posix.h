// The file of an attempt's progress points, written by its head as rank 0 reports.
//
// A disk that is full costs the curve and nothing else.  The loop's thread only: a line goes to the
// page cache, and few are written.
#pragma once

#include <optional>
#include <string>

#include "launcher/jobd/progress_thinner.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/progress_points.h"

namespace muster {

class ProgressFile {
 public:
  // Nothing is created before there is a point.
  void Begin(const std::string& path);
  void Add(const ProgressPoint& point);
  // Writes the last point.
  void End();

 private:
  void Append(const ProgressPoint& point);

  std::string path_;  // Empty: nothing is written.
  ProgressThinner thinner_;
  std::optional<ProgressPoint> newest_;
  UniqueFd fd_;
};

}  // namespace muster
