// What a mount is, and what NFS vendors and cloud providers would say of its options.
//
// Pure: `muster doctor` reads /proc/self/mountinfo and prints.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace muster {

struct Mount {
  std::string point, type, source;             // "/mnt/ckpt", "nfs4", "filer:/export".
  std::map<std::string, std::string> options;  // "vers" -> "4.1", "hard" -> "".
};

// The mount that `path` (absolute, no links) lies on; the last one where several cover it.
std::optional<Mount> FindMount(const std::string& mountinfo, const std::string& path);

enum class Weight { kGood, kAdvice, kWrong };  // kWrong: checkpoints are not safe there.
struct Finding {
  Weight weight = Weight::kGood;
  std::string what;    // "hard", "nconnect", "write".
  std::string found;   // What there is.
  std::string change;  // What to do, and why; empty when good.
};

// `addresses`: how many the server's name resolves to; 0 when that is not known.
std::vector<Finding> JudgeMount(const Mount& mount, std::size_t addresses);

// "ok", "advice", "wrong".
const char* NameOf(Weight weight);

}  // namespace muster
