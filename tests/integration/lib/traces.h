// What muster can leave on a machine, and the words that tell what it did leave.  Pure.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

namespace muster::testing {

struct Traces {
  std::map<int, std::string> processes;      // pid -> command line.
  std::map<std::string, std::string> ports;  // "127.0.0.1:5000" -> whose it is.
  std::set<std::string> namespaces;          // Names below /run/netns.
  std::set<std::string> mounts;
  std::set<std::string> cgroups;
  std::set<std::string> files;  // In /dev/shm and /tmp.

  bool operator==(const Traces&) const = default;
};

// One sentence for each thing that is in `after` and was not in `before`.
std::vector<std::string> WhatRemains(const Traces& before, const Traces& after);

// A process as its environment describes it.
struct Marks {
  std::string test;     // Value of MUSTER_TEST_MARK, or empty.
  bool cookie = false;  // Has MUSTER_CLUSTER_COOKIE or MUSTER_JOB_COOKIE.
};

Marks MarksOf(const std::string& environ);

// The pid in the first "/muster-test-PID-abcdef" of a command line or an environment, else 0: a job
// daemon and its ranks carry no mark, but know where their cluster lives.
int TestFolderNamedIn(const std::string& text);

// Whether a process is of the test with the mark `test`: it says so, or it is muster's and no other
// test's.
bool IsOurs(const Marks& marks, const std::string& test);

// The sockets in state LISTEN of a /proc/net/tcp or tcp6: inode -> "127.0.0.1:5000".
std::map<std::string, std::string> ListeningSockets(const std::string& proc_net_tcp);

// Whether a name in /tmp or /dev/shm is one that muster or an MPI gives.
bool IsOurName(const std::string& name);

// The pid in "muster-test-PID-abcdef", else 0.
int TestFolderOwner(const std::string& name);

}  // namespace muster::testing
