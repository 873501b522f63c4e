#include "runtime/base/dynamic_library_posix.h"

#include <dlfcn.h>
#include <link.h>

#include <filesystem>

namespace muster {

Result<DynamicLibrary> DynamicLibrary::Open(std::span<const std::string> candidates) {
  std::string complaints;
  for (const std::string& candidate : candidates) {
    void* handle = dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle != nullptr) {
      link_map* map = nullptr;
      const bool known = dlinfo(handle, RTLD_DI_LINKMAP, static_cast<void*>(&map)) == 0;
      return DynamicLibrary(handle, known && map->l_name[0] != '\0' ? map->l_name : candidate);
    }
    const char* why = dlerror();
    complaints += (complaints.empty() ? "" : "; ") + std::string(why == nullptr ? "?" : why);
  }
  return Status(Code::kUnavailable, complaints);
}

std::string DynamicLibrary::BesideProgram(const std::string& name) {
  std::error_code none;
  return std::filesystem::read_symlink("/proc/self/exe", none).replace_filename(name).string();
}

void* DynamicLibrary::Find(const std::string& symbol) const {
  return dlsym(handle_, symbol.c_str());
}

}  // namespace muster
