#include "launcher/jobd/devices_posix.h"

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "runtime/base/file_posix.h"
#include "runtime/base/text.h"

namespace muster {
namespace {

std::vector<std::string> NamesIn(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

// -1 is also what the kernel says of a machine that does not know.
std::int32_t NumaOf(const std::string& device) {
  auto text = ReadFile(device + "/numa_node");
  if (!text.ok()) return -1;
  while (text->ends_with('\n')) text->pop_back();
  return static_cast<std::int32_t>(ParseSigned(*text).value_or(-1));
}

}  // namespace

std::vector<Device> ReadGpus(const std::string& root) {
  std::vector<Device> gpus;
  for (std::string address : NamesIn(root + "/proc/driver/nvidia/gpus")) {
    // The driver writes letters large, sysfs small.
    std::transform(address.begin(), address.end(), address.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    gpus.push_back({.name = address, .numa = NumaOf(root + "/sys/bus/pci/devices/" + address)});
  }
  return gpus;
}

std::vector<Device> ReadNics(const std::string& root) {
  std::vector<Device> nics;
  const std::string folder = root + "/sys/class/infiniband";
  for (const std::string& name : NamesIn(folder)) {
    nics.push_back({.name = name, .numa = NumaOf(folder + "/" + name + "/device")});
  }
  // mlx5_10 comes after mlx5_9.
  std::stable_sort(nics.begin(), nics.end(),
                   [](const Device& a, const Device& b) { return a.name.size() < b.name.size(); });
  return nics;
}

std::size_t CountNumaNodes(const std::string& root) {
  const std::vector<std::string> names = NamesIn(root + "/sys/devices/system/node");
  const auto count = std::count_if(names.begin(), names.end(), [](const std::string& name) {
    return name.size() > 4 && name.rfind("node", 0) == 0 &&
           std::isdigit(static_cast<unsigned char>(name[4])) != 0;
  });
  return static_cast<std::size_t>(std::max<std::ptrdiff_t>(count, 1));
}

}  // namespace muster
