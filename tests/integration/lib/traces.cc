#include "tests/integration/lib/traces.h"

#include <algorithm>
#include <sstream>

#include "runtime/base/text.h"

namespace muster::testing {
namespace {

template <typename Set>
void TellNew(const Set& before, const Set& after, const std::string& what,
             std::vector<std::string>* out) {
  for (const std::string& item : after) {
    if (!before.contains(item)) out->push_back(what + " " + item + " is still there");
  }
}

// "0100007F" is 127.0.0.1; an address of IPv6 stays as it is.
std::string Address(const std::string& hex) {
  if (hex.size() != 8) return "[" + hex + "]";
  std::string text;
  for (std::size_t i = 8; i > 0; i -= 2) {
    text += std::to_string(std::stoul(hex.substr(i - 2, 2), nullptr, 16)) + (i > 2 ? "." : "");
  }
  return text;
}

}  // namespace

std::vector<std::string> WhatRemains(const Traces& before, const Traces& after) {
  std::vector<std::string> out;
  for (const auto& [pid, command] : after.processes) {
    if (!before.processes.contains(pid)) {
      out.push_back("process " + std::to_string(pid) + " is still running: " + command);
    }
  }
  for (const auto& [port, owner] : after.ports) {
    if (!before.ports.contains(port)) out.push_back("someone listens on " + port + ": " + owner);
  }
  TellNew(before.namespaces, after.namespaces, "network namespace", &out);
  TellNew(before.mounts, after.mounts, "mount", &out);
  TellNew(before.cgroups, after.cgroups, "cgroup", &out);
  TellNew(before.files, after.files, "file", &out);
  return out;
}

Marks MarksOf(const std::string& environ) {
  Marks marks;
  for (const std::string& entry : Split(environ, '\0')) {
    if (entry.starts_with("MUSTER_TEST_MARK=")) marks.test = entry.substr(entry.find('=') + 1);
    if (entry.starts_with("MUSTER_CLUSTER_COOKIE=") || entry.starts_with("MUSTER_JOB_COOKIE=")) {
      marks.cookie = true;
    }
  }
  return marks;
}

int TestFolderNamedIn(const std::string& text) {
  static const std::string kFolder = "/muster-test-";
  const std::size_t at = text.find(kFolder);
  if (at == std::string::npos) return 0;
  const std::size_t begin = at + kFolder.size();
  return static_cast<int>(
      ParseUnsigned(text.substr(begin, text.find('-', begin) - begin)).value_or(0));
}

bool IsOurs(const Marks& marks, const std::string& test) {
  return marks.test.empty() ? marks.cookie : marks.test == test;
}

std::map<std::string, std::string> ListeningSockets(const std::string& proc_net_tcp) {
  constexpr const char* kListen = "0A";
  std::map<std::string, std::string> sockets;
  for (const std::string& line : Split(proc_net_tcp, '\n')) {
    std::istringstream words(line);
    std::string number, local, remote, state, queues, timer, retransmits, uid, timeout, inode;
    words >> number >> local >> remote >> state >> queues >> timer >> retransmits >> uid >>
        timeout >> inode;
    if (state != kListen || local.find(':') == std::string::npos) continue;
    const std::size_t colon = local.find(':');
    sockets[inode] = Address(local.substr(0, colon)) + ":" +
                     std::to_string(std::stoul(local.substr(colon + 1), nullptr, 16));
  }
  return sockets;
}

bool IsOurName(const std::string& name) {
  static const std::vector<std::string> kStarts = {
      "muster", "ompi", "openmpi", "pmix", "prte", "vader", "sm_segment", "psm", "hwloc"};
  return std::any_of(kStarts.begin(), kStarts.end(),
                     [&](const std::string& start) { return name.starts_with(start); });
}

int TestFolderOwner(const std::string& name) {
  const std::vector<std::string> parts = Split(name, '-');
  if (parts.size() < 3 || parts[0] != "muster" || parts[1] != "test") return 0;
  return static_cast<int>(ParseUnsigned(parts[2]).value_or(0));
}

}  // namespace muster::testing
