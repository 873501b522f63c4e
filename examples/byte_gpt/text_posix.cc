#include "examples/byte_gpt/text_posix.h"

#include <algorithm>
#include <filesystem>
#include <vector>

#include "runtime/base/file_posix.h"

namespace muster {

Result<std::string> LoadText(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(path, error)) return ReadFile(path);
  std::vector<std::string> files;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->symlink_status(error).type() == fs::file_type::regular) files.push_back(it->path());
  }
  if (error) return ErrnoStatus("reading folder " + path, error.value());
  if (files.empty()) return Status(Code::kNotFound, path + " has no regular file to train on");
  std::sort(files.begin(), files.end());
  std::string text;
  for (const std::string& file : files) {
    Result<std::string> bytes = ReadFile(file);
    if (!bytes.ok()) return bytes;
    text += *bytes;
  }
  return text;
}

}  // namespace muster
