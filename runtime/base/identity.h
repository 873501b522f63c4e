// Whom a certificate stands for: the coordinator, one node's agent, or one user.
//
// It is written into the certificate as URIs (subject alternative names), by the CA only, so what
// stands there is what the coordinator believes: an agent speaks for its own node, a user submits
// with the ids that the certificate names.  Pure values; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/base/orders.h"
#include "runtime/base/result.h"

namespace muster {

struct Identity {
  enum class Kind : std::uint8_t { kNone, kCoordinator, kNode, kUser };
  Kind kind = Kind::kNone;
  NodeName node;  // kNode.
  // kUser.
  std::uint32_t uid = 0, gid = 0;
  std::vector<std::uint32_t> groups;
  std::string user;
  bool is_operator = false;  // May speak for every user, and about nodes.
  bool operator==(const Identity&) const = default;
};

Identity CoordinatorIdentity();
Identity NodeIdentity(const NodeName& node);
// The ids of `owner`; its home is not part of an identity.
Identity UserIdentity(const Owner& owner, bool is_operator);

// "muster:coordinator", "muster:node/n0", "muster:user/alice/uid/1000/gid/1000/groups/4.24" and,
// for an operator, ".../operator".  Names may hold letters, digits and . _ - only: kInvalid.
Result<std::string> IdentityUri(const Identity& identity);
Result<Identity> ParseIdentityUri(const std::string& uri);

// "node n0", "user alice (1000)", "operator root (0)".
std::string Describe(const Identity& identity);

// Whether `identity` may start ranks as `owner`: its own uid, its own gids, unless an operator.
// uid 0 only with `allow_root`.
Status MaySubmitAs(const Identity& identity, const Owner& owner, bool allow_root);

// The name that every client asks of the coordinator's certificate, wherever it listens.
inline constexpr char kCoordinatorTlsName[] = "coordinator.muster";

}  // namespace muster
