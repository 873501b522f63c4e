// Pins keep a commit from retention: for ever, as a user asked, or as a reader's lease, until a
// time.
//
//   <run>/pins/g0000000007-s000000000120-u0000000000000-<nonce>.pin
//
// The name says all; what is in the file is for people.  So a pin is there or not, never torn.  Who
// reads takes a lease first and then looks whether the commit record is still there; retention
// unlinks the record first and then looks for leases.  Whoever comes second sees the other: either
// the reader is told that the commit is gone, or its files stay until the lease has run out.  A
// reader that dies leaves a lease that ends by itself; clocks may differ by as much as a lease is
// longer than its reader needs.  One thread at a time.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/base/result.h"
#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/store.h"

namespace muster::checkpoint {

struct PinName {
  CommitId commit;
  std::uint64_t until_ms = 0;  // Since 1970; 0: for ever.
  std::uint64_t nonce = 0;
  bool operator==(const PinName&) const = default;
  bool Holds(std::int64_t now_ms) const {
    return until_ms == 0 || static_cast<std::int64_t>(until_ms) > now_ms;
  }
};

std::string PinsFolder(const std::string& run);
std::string PinFileName(const PinName& pin);
std::optional<PinName> ParsePinName(const std::string& name);

// All pins of the run, also those that hold no longer.
Result<std::vector<PinName>> ListPins(Store& store, const std::string& run);
// The same, as the server has them now and not as an NFS client remembers them: a name that comes
// and goes makes it look afresh.
Result<std::vector<PinName>> LookForPins(Store& store, const std::string& run, std::uint64_t nonce);

// kNotFound: the commit is not there (any more), and nothing is pinned.  `reason` is for people.
Status Pin(Store& store, const std::string& run, const PinName& pin, const std::string& reason);
// Fine, too, if it is not there.
Status Unpin(Store& store, const std::string& run, const PinName& pin);

}  // namespace muster::checkpoint
