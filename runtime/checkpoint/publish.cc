#include "runtime/checkpoint/publish.h"

#include <algorithm>

#include "runtime/checkpoint/record.h"

namespace muster::checkpoint {
namespace {

enum class Seen { kOurs, kAnothers, kNothing };

Result<Seen> Look(Store& store, const Publication& publication) {
  const auto there = ReadWhole(store, publication.target,
                               std::max<std::uint64_t>(kRecordMax, publication.bytes.size()));
  if (there.ok()) return *there == publication.bytes ? Seen::kOurs : Seen::kAnothers;
  if (there.status().code() == Code::kNotFound) return Seen::kNothing;
  return there.status();
}

// After a link that failed with `failed`: what is the case?
Result<bool> Settle(Store& store, const Publication& publication, Status failed) {
  const Status gone = store.Unlink(publication.temporary);
  const bool final = gone.ok() || gone.code() == Code::kNotFound;
  const auto seen = Look(store, publication);
  if (seen.ok() && *seen == Seen::kOurs) return true;
  if (seen.ok() && *seen == Seen::kAnothers) return false;
  if (seen.ok() && final) return failed;
  return Status(Code::kUnavailable,
                failed.message() + "; whether " + publication.target +
                    " exists now is unknown: " + (seen.ok() ? gone : seen.status()).message());
}

}  // namespace

Result<bool> Publish(Store& store, const Publication& publication,
                     const std::function<Status()>& may_publish) {
  Status written = WriteWhole(store, publication.temporary, publication.bytes);
  if (written.code() == Code::kExists) {
    // A dead writer's CREATE that landed late: not the publication, and gone with the next try.
    return Status(Code::kUnavailable, written.message());
  }
  RETURN_IF_ERROR(std::move(written));
  if (Status may = may_publish(); !may.ok()) {
    static_cast<void>(store.Unlink(publication.temporary));
    return may;
  }
  if (Status linked = store.Link(publication.temporary, publication.target); !linked.ok()) {
    const auto settled = Settle(store, publication, std::move(linked));
    if (!settled.ok() || !*settled) return settled;
  }
  RETURN_IF_ERROR(store.SyncFolder(publication.folder));
  const auto seen = Look(store, publication);
  if (!seen.ok()) return seen.status();
  if (*seen != Seen::kOurs) {
    return Status(Code::kDataLoss, publication.target + " reads back as something else");
  }
  static_cast<void>(store.Unlink(publication.temporary));  // What stays is rubbish for gc.
  return true;
}

}  // namespace muster::checkpoint
