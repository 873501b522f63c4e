// Names in a store, and nothing but names.
//
//   <run>/claims/g0000000007.json                             the generation 7 is taken
//   <run>/claims/.g0000000007-<nonce>.tmp                     a claim on its way
//   <run>/claims/.g0000000007-s000000000120-<nonce>.tmp       a commit record on its way
//   <run>/data/g0000000007-s000000000120-<nonce>/             one save
//       shard-00000-of-00002.safetensors                      what node 0 of 2 wrote
//       manifest.muster
//       .<either>.tmp                                         one of them on its way
//   <run>/commits/g0000000007-s000000000120.json              the commit record: the only truth
//
// Decimals have a fixed width, so names sort as generation, then step: the order of "newest".  A
// commit record on its way lies in claims/: creating it there makes an NFS client look at claims/
// afresh, and the committer lists claims/ next.  Pure; any thread.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>

#include "runtime/base/result.h"

namespace muster::checkpoint {

// One save.  A later nonce is not newer: it only keeps two tries apart.
struct SaveId {
  std::uint64_t generation = 0;
  std::uint64_t step = 0;
  std::uint64_t nonce = 0;
  bool operator==(const SaveId&) const = default;
};

// What "newest" means: highest generation, then highest step.
struct CommitId {
  std::uint64_t generation = 0;
  std::uint64_t step = 0;
  auto operator<=>(const CommitId&) const = default;
};
inline CommitId IdOf(const SaveId& save) {
  return {.generation = save.generation, .step = save.step};
}

// A run's name becomes a folder: 1 to 100 of [A-Za-z0-9._-], the first one not '.' or '-'.
Status CheckRunName(const std::string& run);

std::string ClaimsFolder(const std::string& run);
std::string CommitsFolder(const std::string& run);
std::string DataFolder(const std::string& run);

std::string ClaimName(std::uint64_t generation);
std::string ClaimTemporaryName(std::uint64_t generation, std::uint64_t nonce);
std::string CommitName(CommitId commit);
// Another one for each try: a name that was given up must not come back, or a link of it that
// lands late would publish what is half written.
std::string CommitTemporaryName(const SaveId& save, std::int64_t time_ms);
std::string SaveName(const SaveId& save);
std::string ShardName(std::uint32_t node, std::uint32_t nodes);
inline constexpr char kManifestName[] = "manifest.muster";
std::string TemporaryName(const std::string& name);

std::string NonceText(std::uint64_t nonce);
std::optional<std::uint64_t> ParseNonce(const std::string& text);

// nullopt: the name is not of that kind.
std::optional<std::uint64_t> ParseClaimName(const std::string& name);
std::optional<CommitId> ParseCommitName(const std::string& name);
std::optional<SaveId> ParseSaveName(const std::string& name);
// A claim on its way is before any step of its generation.
std::optional<SaveId> ParseTemporaryName(const std::string& name);

}  // namespace muster::checkpoint
