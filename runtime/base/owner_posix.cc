#include "runtime/base/owner_posix.h"

#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <climits>
#include <string>
#include <vector>

#include "runtime/base/env_posix.h"

namespace muster {
namespace {

// As a certificate can hold it.
std::string PlainName(std::string name) {
  const auto plain = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '.' || c == '_' || c == '-';
  };
  std::replace_if(
      name.begin(), name.end(), [&](unsigned char c) { return !plain(c); }, '_');
  return name;
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

}  // namespace muster
