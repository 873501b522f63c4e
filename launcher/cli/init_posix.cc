#include "launcher/cli/cli_posix.h"
#include "launcher/cli/cluster_file.h"
#include "launcher/cli/embedded_posix.h"
#include "launcher/cli/exit_status.h"
#include "launcher/cli/render.h"
#include "launcher/cli/terminal_posix.h"
#include "runtime/base/owner_posix.h"

namespace muster {
namespace {

std::string NextSteps(const std::string& state, const std::string& file,
                      const std::vector<NodeName>& nodes) {
  const ClusterPaths paths = {.state = state};
  std::string text =
      "made the certificates in " + paths.Ca() + "\n" +
      "start here:     muster coordinator --config " + file + "\n" +
      "on each node N: copy ca.pem, node-N.pem and node-N.key to STATE/ca, then\n" +
      "                muster agent --state STATE --node N --coordinator HOST:PORT\n" +
      "nodes:         ";
  for (const NodeName& node : nodes) text += " " + node;
  return text + "\nusers:          muster init --config " + file + " --user NAME, then they\n" +
         "                muster submit --cluster " + state + " JOB.yaml\n";
}

Status Certify(const InitCommand& init, const std::string& state, const ClusterDescription& cluster,
               const std::vector<NodeName>& nodes) {
  std::vector<Owner> users;
  for (const std::string& user : init.users) {
    auto owner = OwnerNamed(user);
    if (!owner.ok()) return std::move(owner).status();
    users.push_back(*std::move(owner));
  }
  RETURN_IF_ERROR(MakeCertificates(state, cluster, nodes));
  for (const Owner& user : users) RETURN_IF_ERROR(MakeUserCertificate(state, user));
  return {};
}

}  // namespace

int CarryOutInit(const InitCommand& init) {
  const bool json = init.common.json;
  const auto text = ReadFile(init.file);
  if (!text.ok()) return Fail(Status(Code::kInvalid, text.status().message()), json);
  const auto file = ParseClusterFile(init.file, *text);
  if (!file.ok()) return Fail(file.status(), json);
  const auto state = StateFolder(init.state, file->state_dir, file->name);
  if (!state.ok()) return Fail(state.status(), json);
  if (const Status made = MakeOwnFolder(*state); !made.ok()) return Fail(made, json);
  auto cluster = DescribeNode(*state);
  if (!cluster.ok()) return Fail(cluster.status(), json);
  cluster->name = file->name;
  std::vector<NodeName> nodes;
  for (const NodeEntry& node : file->nodes) nodes.push_back(node.name);
  if (const Status made = Certify(init, *state, *cluster, nodes); !made.ok()) {
    return Fail(made, json);
  }
  Print(json ? ClusterJson(*state, *cluster, false) : NextSteps(*state, init.file, nodes));
  return kExitOk;
}

}  // namespace muster
