#include "launcher/cli/show_curve_posix.h"

#include <condition_variable>
#include <map>

#include "runtime/base/mutex.h"

namespace muster {
namespace {

constexpr Duration kPatience = std::chrono::seconds(2);

}  // namespace

std::vector<CurvePoint> FetchCurve(ClusterClient& client, JobId job) {
  std::map<AttemptNumber, std::string> files;  // The stream's thread's, until it ended.
  Mutex mutex;
  std::condition_variable_any wake;
  bool ended = false;
  const auto stream = client.Logs(
      {.job = job, .all_attempts = true, .ranks = {0}, .selection = {.progress = true}},
      [&](const LogPiece& piece) { files[piece.attempt] += piece.data; },
      [&](const Status&) {
        const MutexLock lock(mutex);
        ended = true;
        wake.notify_all();
      });
  mutex.lock();
  wake.wait_for(mutex, kPatience, [&] { return ended; });
  mutex.unlock();
  stream->Cancel();
  static_cast<void>(stream->Wait());
  return CurveOf(files);
}

}  // namespace muster
