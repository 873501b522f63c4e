// The cluster's own certificate authority, and the PEM files it writes (D10).
//
// ECDSA P-256 throughout, valid for 10 years, random serial numbers.  A certificate names an
// Identity (identity.h); only the coordinator's is good for a server, so no node can pose as it.
// Private keys are files of mode 0600.  Any thread.
#pragma once

#include <string>

#include "runtime/base/clock.h"
#include "runtime/base/identity.h"

namespace muster {

// PEM texts.  A CA's own key never leaves its Authority.
struct Credentials {
  std::string ca;           // Whom to trust.
  std::string certificate;  // Who I am ...
  std::string key;          // ... and its proof.
};

struct Authority {
  std::string certificate, key;
};

// From when on and for how long a certificate is valid.
struct Validity {
  WallTime from;
  std::chrono::hours time = std::chrono::hours(24 * 3653);
};

Result<Authority> MakeAuthority(const std::string& cluster, const Validity& validity);
Result<Credentials> Issue(const Authority& authority, const Identity& identity,
                          const Validity& validity);

// FOLDER/ca.pem and ca.key.  Save refuses (kExists) to replace an authority.
Status SaveAuthority(const std::string& folder, const Authority& authority);
Result<Authority> LoadAuthority(const std::string& folder);

// FOLDER/ca.pem, FOLDER/NAME.pem and FOLDER/NAME.key.
Status SaveCredentials(const std::string& folder, const std::string& name,
                       const Credentials& credentials);
Result<Credentials> LoadCredentials(const std::string& folder, const std::string& name);

// The NAMEs in ClusterPaths::Ca().
inline constexpr char kCoordinatorCredentials[] = "coordinator";
inline std::string NodeCredentials(const NodeName& node) {
  return "node-" + node;
}
inline std::string UserCredentials(std::uint32_t uid) {
  return "user-" + std::to_string(uid);
}

// From the kernel's generator: run ids, keys, tokens.
std::string RandomBytes(std::size_t size);

}  // namespace muster
