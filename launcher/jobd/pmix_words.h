// What a job daemon and its PMIx helper say to each other: frames of a 32-bit little-endian length
// and an EncodeVariant() body over a socketpair.
//
//   1. helper: Ready, once its server is up.  It may then wait as a spare for as long as it likes.
//   2. jobd: Register.  helper: Registered, with what each local rank's environment must have.
//   3. Fences: helper FenceAsked, jobd FenceDone with the contributions of all hosts.
//   4. helper: RankConnected, RankFinalized, RankAborted, as the ranks come and go.
//
// Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <variant>
#include <vector>

namespace muster::pmix {

// ---- jobd to helper -----------------------------------------------------------------------------

struct HostRanks {
  std::string name;
  std::uint32_t first_rank = 0, count = 0;
  template <typename A>
  void Fields(A& a) {
    a(name, first_rank, count);
  }
};

// `job_namespace` is unique per attempt: Open MPI hashes it to its job number.
struct Register {
  std::string job_namespace;
  std::vector<HostRanks> hosts;
  std::uint32_t host_index = 0;
  std::uint32_t uid = 0, gid = 0;
  template <typename A>
  void Fields(A& a) {
    a(job_namespace, hosts, host_index, uid, gid);
  }
};

struct FenceDone {
  std::string key, blob;
  template <typename A>
  void Fields(A& a) {
    a(key, blob);
  }
};

using ToHelper = std::variant<Register, FenceDone>;

// ---- helper to jobd -----------------------------------------------------------------------------

struct Ready {
  bool unused = false;
  template <typename A>
  void Fields(A& a) {
    a(unused);
  }
};

struct RankEnvironment {
  std::vector<std::string> entries;  // NAME=value.
  template <typename A>
  void Fields(A& a) {
    a(entries);
  }
};

struct Registered {
  std::vector<RankEnvironment> ranks;  // By local rank.
  std::string error;                   // Not empty: it failed.
  template <typename A>
  void Fields(A& a) {
    a(ranks, error);
  }
};

// `hosts` hosts take part.
struct FenceAsked {
  std::string key;
  std::uint32_t hosts = 0;
  std::string blob;
  template <typename A>
  void Fields(A& a) {
    a(key, hosts, blob);
  }
};

struct RankConnected {
  std::uint32_t rank = 0;
  template <typename A>
  void Fields(A& a) {
    a(rank);
  }
};

struct RankFinalized {
  std::uint32_t rank = 0;
  template <typename A>
  void Fields(A& a) {
    a(rank);
  }
};

// MPI_Abort.
struct RankAborted {
  std::uint32_t rank = 0;
  std::int32_t status = 0;
  std::string text;
  template <typename A>
  void Fields(A& a) {
    a(rank, status, text);
  }
};

using FromHelper =
    std::variant<Ready, Registered, FenceAsked, RankConnected, RankFinalized, RankAborted>;

}  // namespace muster::pmix
