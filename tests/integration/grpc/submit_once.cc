// What a lean client costs:  submit_once STATE_DIR  connects, submits one job, and ends.
#include <cstdio>
#include <string>

#include "launcher/cli/client_grpc.h"
#include "runtime/base/paths.h"
#include "runtime/base/text.h"

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  const muster::ClusterPaths paths{.state = argv[1]};
  auto credentials = muster::LoadCredentials(paths.Ca(), muster::UserCredentials(1000));
  if (!credentials.ok()) return 1;
  muster::ClusterClient client(
      {.address_file = paths.CoordinatorAddress(), .credentials = *std::move(credentials)});
  muster::JobRequest request{.submit_key = muster::RandomBytes(16)};
  request.submit_key = muster::ToHex(std::as_bytes(std::span(request.submit_key)));
  request.program.argv = {"true"};
  request.owner = {.uid = 1000, .gid = 1000, .user = "alice"};
  const auto job = client.Submit(request);
  if (!job.ok()) std::printf("%s\n", job.status().message().c_str());
  return job.ok() ? 0 : 1;
}
