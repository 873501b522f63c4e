// A cluster on this one host: its folders, its certificates, and the parts that a keeper starts.
//
// Any thread; MakeEmbedded touches only the folders that it makes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launcher/cli/cluster_dir_posix.h"
#include "launcher/cli/keeper_posix.h"

namespace muster {

struct EmbeddedPlan {
  std::string name;      // Empty: a private one, "run-SHORTID".
  std::string short_id;  // Empty: a new one.
  std::uint32_t nodes = 1, slots = 1;
};

struct Embedded {
  std::string state;
  ClusterDescription cluster;
  UniqueFd lock;
};

// Makes or takes over the folders, certificates and files; this process is the keeper.  kExists
// when a cluster of that name is up; kInvalid or kDenied when the folders cannot be used.
Result<Embedded> MakeEmbedded(const EmbeddedPlan& plan);

// Certificates for the coordinator, these nodes and the caller, below STATE/ca; the authority that
// is there already, or a new one.
Status MakeCertificates(const std::string& state, const ClusterDescription& cluster,
                        const std::vector<NodeName>& nodes);

// A certificate in STATE/ca for a user of this host, who alone can read it.  The authority must be
// there.
Status MakeUserCertificate(const std::string& state, const Owner& user);

// What the keeper starts.
std::vector<KeptPart> PartsOf(const std::string& state, const ClusterDescription& cluster);

// Until the coordinator wrote where it listens; kDeadline after `patience`, kAborted as soon as one
// of `abort_fds` can be read.
Status AwaitEndpoint(const std::string& state, Duration patience,
                     const std::vector<int>& abort_fds);

// The description of a cluster that has one in `state`, or of a node on its own, which gets one.
Result<ClusterDescription> DescribeNode(const std::string& state);

// Eight random hexadecimal digits.
std::string NewShortId();

// Whether `muster up` may give a cluster this name: private ones have their own.
bool IsPrivateName(const std::string& name);

}  // namespace muster
