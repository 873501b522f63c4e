#include "launcher/cli/output_lines.h"

namespace muster {

std::string OutputLines::Take(std::uint32_t rank, bool is_stderr, std::string_view bytes) {
  if (!prefix_) return std::string(bytes);
  const std::string mark = "[" + std::to_string(rank) + "] ";
  std::string& partial = partial_[{rank, is_stderr}];
  std::string out;
  while (!bytes.empty()) {
    const std::size_t room = kLongestLine - partial.size();
    const std::size_t end = bytes.substr(0, room).find('\n');
    if (end == std::string_view::npos && bytes.size() < room) {
      partial += bytes;
      return out;
    }
    const std::size_t size = end == std::string_view::npos ? room : end;
    out += mark;
    out += partial;
    out += bytes.substr(0, size);
    out += '\n';
    partial.clear();
    bytes.remove_prefix(end == std::string_view::npos ? size : size + 1);
  }
  return out;
}

std::string OutputLines::Flush(std::uint32_t rank, bool is_stderr) {
  const auto found = partial_.find({rank, is_stderr});
  if (found == partial_.end() || found->second.empty()) return "";
  std::string out = "[" + std::to_string(rank) + "] " + found->second + "\n";
  found->second.clear();
  return out;
}

std::string OutputLines::FlushAll(bool is_stderr) {
  std::string out;
  for (const auto& [stream, partial] : partial_) {
    if (stream.second == is_stderr) out += Flush(stream.first, is_stderr);
  }
  return out;
}

}  // namespace muster
