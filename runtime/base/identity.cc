#include "runtime/base/identity.h"

#include <algorithm>
#include <cctype>

#include "runtime/base/text.h"

namespace muster {
namespace {

bool IsName(const std::string& text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
  });
}

Status BadName(const std::string& what, const std::string& name) {
  return Status(Code::kInvalid,
                what + " '" + name + "' may hold only letters, digits, '.', '_' and '-'");
}

std::optional<std::uint32_t> ParseId(const std::string& text) {
  const auto value = ParseUnsigned(text);
  if (!value || *value >= UINT32_MAX) return std::nullopt;  // -1 means nobody.
  return static_cast<std::uint32_t>(*value);
}

std::string GroupList(const std::vector<std::uint32_t>& groups) {
  std::vector<std::string> words;
  for (const std::uint32_t group : groups) words.push_back(std::to_string(group));
  return Join(words, ".");
}

std::optional<std::vector<std::uint32_t>> ParseGroups(const std::string& text) {
  std::vector<std::uint32_t> groups;
  if (text.empty()) return groups;
  for (const std::string& word : Split(text, '.')) {
    const auto id = ParseId(word);
    if (!id) return std::nullopt;
    groups.push_back(*id);
  }
  return groups;
}

// user/NAME/uid/N/gid/N/groups/LIST[/operator]
std::optional<Identity> ParseUser(const std::vector<std::string>& words) {
  if (words.size() != 8 && words.size() != 9) return std::nullopt;
  if (words[2] != "uid" || words[4] != "gid" || words[6] != "groups") return std::nullopt;
  if (words.size() == 9 && words[8] != "operator") return std::nullopt;
  const auto uid = ParseId(words[3]);
  const auto gid = ParseId(words[5]);
  const auto groups = ParseGroups(words[7]);
  if (!IsName(words[1]) || !uid || !gid || !groups) return std::nullopt;
  return Identity{.kind = Identity::Kind::kUser,
                  .uid = *uid,
                  .gid = *gid,
                  .groups = *groups,
                  .user = words[1],
                  .is_operator = words.size() == 9};
}

}  // namespace

Identity CoordinatorIdentity() {
  return {.kind = Identity::Kind::kCoordinator};
}

Identity NodeIdentity(const NodeName& node) {
  return {.kind = Identity::Kind::kNode, .node = node};
}

Identity UserIdentity(const Owner& owner, bool is_operator) {
  return {.kind = Identity::Kind::kUser,
          .uid = owner.uid,
          .gid = owner.gid,
          .groups = owner.groups,
          .user = owner.user,
          .is_operator = is_operator};
}

Result<std::string> IdentityUri(const Identity& identity) {
  switch (identity.kind) {
    case Identity::Kind::kNone:
      break;
    case Identity::Kind::kCoordinator:
      return std::string("muster:coordinator");
    case Identity::Kind::kNode:
      if (!IsName(identity.node)) return BadName("the node name", identity.node);
      return "muster:node/" + identity.node;
    case Identity::Kind::kUser:
      if (!IsName(identity.user)) return BadName("the user name", identity.user);
      return "muster:user/" + identity.user + "/uid/" + std::to_string(identity.uid) + "/gid/" +
             std::to_string(identity.gid) + "/groups/" + GroupList(identity.groups) +
             (identity.is_operator ? "/operator" : "");
  }
  return Status(Code::kInvalid, "a certificate must stand for a coordinator, a node or a user");
}

Result<Identity> ParseIdentityUri(const std::string& uri) {
  const Status unknown(Code::kDenied,
                       "the certificate's name '" + uri + "' is none of this cluster's");
  static constexpr std::string_view kScheme = "muster:";
  if (!uri.starts_with(kScheme)) return unknown;
  const std::vector<std::string> words = Split(uri.substr(kScheme.size()), '/');
  if (words.size() == 1 && words[0] == "coordinator") return CoordinatorIdentity();
  if (words.size() == 2 && words[0] == "node" && IsName(words[1])) return NodeIdentity(words[1]);
  if (words[0] != "user") return unknown;
  auto user = ParseUser(words);
  if (!user) return unknown;
  return *std::move(user);
}

std::string Describe(const Identity& identity) {
  switch (identity.kind) {
    case Identity::Kind::kNone:
      return "nobody";
    case Identity::Kind::kCoordinator:
      return "the coordinator";
    case Identity::Kind::kNode:
      return "node " + identity.node;
    case Identity::Kind::kUser:
      return std::string(identity.is_operator ? "operator " : "user ") + identity.user + " (" +
             std::to_string(identity.uid) + ")";
  }
  return "nobody";
}

Status MaySubmitAs(const Identity& identity, const Owner& owner, bool allow_root) {
  if (identity.kind != Identity::Kind::kUser) {
    return Status(Code::kDenied, Describe(identity) + " may not submit jobs; a user may");
  }
  if (!identity.is_operator) {
    const auto has = [&](std::uint32_t gid) {
      return gid == identity.gid || std::find(identity.groups.begin(), identity.groups.end(),
                                              gid) != identity.groups.end();
    };
    if (owner.uid != identity.uid) {
      return Status(Code::kDenied, Describe(identity) + " may submit jobs as uid " +
                                       std::to_string(identity.uid) + " only, not as uid " +
                                       std::to_string(owner.uid));
    }
    std::vector<std::uint32_t> wanted = owner.groups;
    wanted.push_back(owner.gid);
    for (const std::uint32_t gid : wanted) {
      if (has(gid)) continue;
      return Status(Code::kDenied, "the certificate of " + Describe(identity) +
                                       " does not name gid " + std::to_string(gid) +
                                       "; ask the operator for a new one");
    }
  }
  if (owner.uid == 0 && !allow_root) {
    return Status(Code::kDenied,
                  "jobs of root are refused here; submit as another user, or set allow_root: true "
                  "in the cluster file");
  }
  return {};
}

}  // namespace muster
