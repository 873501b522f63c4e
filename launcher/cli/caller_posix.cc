#include "launcher/cli/caller_posix.h"

#include <grp.h>
#include <pwd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <climits>

#include "runtime/base/env_posix.h"
#include "runtime/base/file_posix.h"

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

// As a certificate can hold it.
std::string PlainName(std::string name) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  };
  std::replace_if(
      name.begin(), name.end(), [&](unsigned char c) { return !plain(c); }, '_');
  return name;
}

void AddDefault(std::vector<std::string>& environment, const std::string& name,
                const std::string& value) {
  for (const std::string& entry : environment) {
    if (entry.rfind(name + "=", 0) == 0) return;
  }
  environment.push_back(name + "=" + value);
}

}  // namespace

Owner CallerOwner() {
  Owner owner = {.uid = getuid(), .gid = getgid()};
  const int count = getgroups(0, nullptr);
  std::vector<gid_t> groups(static_cast<std::size_t>(std::max(count, 0)));
  const int got = getgroups(count, groups.data());
  groups.resize(static_cast<std::size_t>(std::max(got, 0)));
  owner.groups.assign(groups.begin(), groups.end());
  if (const passwd* entry = getpwuid(owner.uid)) {
    owner.user = PlainName(entry->pw_name);
    owner.home = entry->pw_dir;
  } else {
    owner.user = "uid" + std::to_string(owner.uid);
  }
  if (const auto home = GetEnv("HOME"); home && !home->empty()) owner.home = *home;
  if (owner.home.empty()) owner.home = "/";
  return owner;
}

Result<Owner> OwnerNamed(const std::string& user) {
  const passwd* entry = getpwnam(user.c_str());
  if (entry == nullptr) return Status(Code::kInvalid, "this host knows no user '" + user + "'");
  Owner owner = {.uid = entry->pw_uid, .gid = entry->pw_gid, .user = user, .home = entry->pw_dir};
  int count = NGROUPS_MAX;
  std::vector<gid_t> groups(static_cast<std::size_t>(count));
  if (getgrouplist(user.c_str(), owner.gid, groups.data(), &count) < 0) count = 0;
  groups.resize(static_cast<std::size_t>(count));
  owner.groups.assign(groups.begin(), groups.end());
  return owner;
}

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

}  // namespace muster
