// A coordinator and nothing else, for tests:  coordinator_alone STATE_DIR [KEY=VALUE]...
#include <cstdlib>
#include <string>

#include "launcher/coordinator/coordinator_main.h"

int main(int argc, char** argv) {
  muster::CoordinatorConfig config{.cluster = "test", .state_dir = argc > 1 ? argv[1] : ""};
  for (int i = 2; i < argc; ++i) {
    const std::string word = argv[i];
    const std::string key = word.substr(0, word.find('='));
    const std::string value = word.substr(word.find('=') + 1);
    const auto ms = std::chrono::milliseconds(std::atol(value.c_str()));
    if (key == "listen") config.listen = value;
    if (key == "node") config.nodes.push_back({.name = value});
    if (key == "queue") config.queue = static_cast<std::size_t>(std::atol(value.c_str()));
    if (key == "hold_ms") config.hold = ms;
    if (key == "lease_ms") config.lease = ms;
    if (key == "allow_root") config.allow_root = value == "1";
    if (key == "keeper_fd") config.keeper_fd = std::atoi(value.c_str());
  }
  return muster::CoordinatorMain(config);
}
