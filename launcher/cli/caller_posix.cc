#include "launcher/cli/caller_posix.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "runtime/base/env_posix.h"
#include "runtime/base/file_posix.h"
#include "runtime/base/owner_posix.h"

namespace muster {
namespace {

// Of an outer job: they would tell an inner one that it is the outer one.
constexpr std::array<std::string_view, 5> kNotInherited = {
    "MUSTER_CLUSTER_COOKIE=", "MUSTER_JOB_COOKIE=", "MUSTER_LINK_FD=", "PMIX_", "OMPI_COMM_WORLD_"};

bool Inherited(const std::string& entry) {
  return entry.find('=') != std::string::npos &&
         std::none_of(kNotInherited.begin(), kNotInherited.end(),
                      [&](std::string_view name) { return entry.rfind(name, 0) == 0; });
}

void AddDefault(std::vector<std::string>& environment, const std::string& name,
                const std::string& value) {
  for (const std::string& entry : environment) {
    if (entry.rfind(name + "=", 0) == 0) return;
  }
  environment.push_back(name + "=" + value);
}

}  // namespace

Result<Program> CallerProgram(const std::vector<std::string>& argv) {
  Program program = {.argv = argv};
  for (std::string& entry : Environment()) {
    if (Inherited(entry)) program.environment.push_back(std::move(entry));
  }
  std::array<char, PATH_MAX> here{};
  if (getcwd(here.data(), here.size()) == nullptr) {
    return ErrnoStatus("finding the working directory", errno);
  }
  program.workdir = here.data();
  const mode_t mask = umask(077);
  umask(mask);
  program.umask = mask;
  for (int resource = 0; resource < RLIMIT_NLIMITS; ++resource) {
    rlimit limit{};
    if (getrlimit(static_cast<__rlimit_resource_t>(resource), &limit) != 0) continue;
    program.limits.push_back(
        {.resource = resource, .soft = limit.rlim_cur, .hard = limit.rlim_max});
  }
  return program;
}

Program PlainProgram(const std::vector<std::string>& argv,
                     const std::vector<std::string>& environment, const std::string& workdir) {
  Program program = {.argv = argv, .environment = environment, .workdir = workdir};
  const Owner owner = CallerOwner();
  AddDefault(program.environment, "PATH", "/usr/local/bin:/usr/bin:/bin");
  AddDefault(program.environment, "HOME", owner.home);
  AddDefault(program.environment, "USER", owner.user);
  AddDefault(program.environment, "LOGNAME", owner.user);
  return program;
}

std::uint32_t HostCpus() {
  const long count = sysconf(_SC_NPROCESSORS_ONLN);
  return count > 0 ? static_cast<std::uint32_t>(count) : 1;
}

}  // namespace muster
