// A job's loss curve: the points that its attempts reported, drawn in text.  Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "runtime/base/orders.h"
#include "runtime/base/progress_points.h"

namespace muster {

struct CurvePoint {
  AttemptNumber attempt = 0;
  ProgressPoint point;
  bool operator==(const CurvePoint&) const = default;
};

// From the files of the attempts.  What a later attempt did again is left out.
std::vector<CurvePoint> CurveOf(const std::map<AttemptNumber, std::string>& files);

// Ten lines, each with its end; empty when no loss was reported.
std::string DrawCurve(const std::vector<CurvePoint>& curve);

}  // namespace muster
