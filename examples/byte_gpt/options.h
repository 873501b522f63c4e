// The command line of byte_gpt, parsed.  Pure values.
#pragma once

#include <cstdint>
#include <string>

namespace muster {

struct ByteGptOptions {
  std::uint64_t steps = 200;
  std::uint64_t stop_after = 0;
  std::uint64_t seed = 42;
  std::uint32_t micro_batches = 16;
  std::uint64_t checkpoint_every = 0;
  std::string checkpoint_dir;
  std::string run = "byte_gpt";
  std::string resume = "memory";
  std::string data = "/usr/share/common-licenses";
  int threads = 1;
  std::string step_log;
  std::size_t sample = 0;
  bool hash = false;
};

}  // namespace muster
