#include "runtime/base/jobd_arguments.h"

#include <array>
#include <utility>

namespace muster {
namespace {

constexpr std::array<std::pair<const char*, std::string JobdArguments::*>, 9> kWords = {{
    {"--node", &JobdArguments::node},
    {"--socket", &JobdArguments::socket},
    {"--status", &JobdArguments::status},
    {"--logs", &JobdArguments::logs},
    {"--shm", &JobdArguments::shm},
    {"--cgroup", &JobdArguments::cgroup},
    {"--cookie", &JobdArguments::cookie},
    {"--ports", &JobdArguments::ports},
    {"--slots", &JobdArguments::slots},
}};

}  // namespace

std::vector<std::string> ToWords(const JobdArguments& arguments) {
  std::vector<std::string> words;
  for (const auto& [word, member] : kWords) {
    words.emplace_back(word);
    words.push_back(arguments.*member);
  }
  return words;
}

JobdArguments FromWords(const std::vector<std::string>& words) {
  JobdArguments arguments;
  for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
    for (const auto& [word, member] : kWords) {
      if (words[i] == word) arguments.*member = words[i + 1];
    }
  }
  return arguments;
}

}  // namespace muster
