// One line = one event: time, level, process, key=value of ids, a sentence.  Goes to stderr.
//
// Any thread; a line is written by one write(2).  INFO stays readable at 1,000 ranks: what happens
// once per rank is kDebug.
#pragma once

#include <string>
#include <string_view>

namespace muster {

enum class LogLevel { kDebug, kInfo, kWarning, kError };

// Named once by main, such as "coordinator" or "agent n0".  Call before any thread starts.
void SetLogProcess(std::string name);
void SetLogLevel(LogLevel level);

void Log(LogLevel level, std::string_view line);

}  // namespace muster
