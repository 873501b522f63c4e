#include "runtime/checkpoint/claim.h"

#include <algorithm>

#include "runtime/checkpoint/publish.h"
#include "runtime/checkpoint/record.h"

namespace muster::checkpoint {
namespace {

constexpr int kTriesMax = 1000;  // Each lost one means that another attempt has won.

Status MakeRun(Store& store, const std::string& run) {
  for (const std::string& folder : {run, ClaimsFolder(run), DataFolder(run), CommitsFolder(run)}) {
    RETURN_IF_ERROR(store.MakeFolder(folder));
  }
  RETURN_IF_ERROR(store.SyncFolder(run));
  return store.SyncFolder("");
}

Result<std::vector<std::string>> ListIfThere(Store& store, const std::string& folder) {
  auto names = store.List(folder);
  if (!names.ok() && names.status().code() == Code::kNotFound) return std::vector<std::string>();
  return names;
}

Result<bool> TryClaim(Store& store, const ClaimRecord& claim) {
  const std::string folder = ClaimsFolder(claim.run);
  const Publication publication{
      .folder = folder,
      .target = folder + "/" + ClaimName(claim.generation),
      .temporary = folder + "/" + ClaimTemporaryName(claim.generation, claim.nonce),
      .bytes = FormatClaim(claim)};
  return Publish(store, publication, [] { return Status(); });
}

}  // namespace

Result<std::uint64_t> Claim(Store& store, const std::string& run, std::uint64_t nonce,
                            std::int64_t now_ms, std::uint32_t attempt) {
  RETURN_IF_ERROR(CheckRunName(run));
  RETURN_IF_ERROR(MakeRun(store, run).While("preparing run " + run));
  for (int tries = 0; tries < kTriesMax; ++tries) {
    const auto claimed = HighestClaim(store, run);
    if (!claimed.ok()) return claimed.status();
    const auto commits = ListCommits(store, run);
    if (!commits.ok()) return commits.status();
    const std::uint64_t committed = commits->empty() ? 0 : commits->front().generation;
    const ClaimRecord claim{.run = run,
                            .generation = std::max(*claimed, committed) + 1,
                            .nonce = nonce,
                            .attempt = attempt,
                            .time_ms = now_ms};
    auto taken = TryClaim(store, claim);
    if (!taken.ok()) {
      return std::move(taken).status().While("claiming generation " +
                                             std::to_string(claim.generation) + " of run " + run);
    }
    if (*taken) return claim.generation;
  }
  return Status(Code::kUnavailable, "run " + run + ": " + std::to_string(kTriesMax) +
                                        " generations in a row were claimed by others");
}

Result<std::uint64_t> HighestClaim(Store& store, const std::string& run) {
  auto names = ListIfThere(store, ClaimsFolder(run));
  if (!names.ok()) return std::move(names).status();
  std::uint64_t highest = 0;
  for (const std::string& name : *names) {
    highest = std::max(highest, ParseClaimName(name).value_or(0));
  }
  return highest;
}

Result<std::vector<CommitId>> ListCommits(Store& store, const std::string& run) {
  auto names = ListIfThere(store, CommitsFolder(run));
  if (!names.ok()) return std::move(names).status();
  std::vector<CommitId> commits;
  for (const std::string& name : *names) {
    if (const auto commit = ParseCommitName(name)) commits.push_back(*commit);
  }
  std::sort(commits.rbegin(), commits.rend());
  return commits;
}

}  // namespace muster::checkpoint
