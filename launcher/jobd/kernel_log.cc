#include "launcher/jobd/kernel_log.h"

#include <string>

namespace muster {

bool TellsOfOutOfMemory(std::string_view record, std::int64_t pid) {
  const std::string number = std::to_string(pid);
  const auto says = [&](const std::string& words) {
    return record.find(words) != std::string_view::npos;
  };
  return says("Killed process " + number + " ") || says("Killed process " + number + ",") ||
         says("Kill process " + number + " ") || says("reaped process " + number + " ") ||
         (says("oom-kill:") && says(",pid=" + number + ","));
}

}  // namespace muster
