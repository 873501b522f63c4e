// nccl_id: rank 0 makes an id of NCCL (the real one's where there is one, else the fake's), and
// tells it to all through the launcher's keys; each prints it.  Needs no GPU.
#include <cstdio>

#include "runtime/client/muster_client.h"
#include "runtime/comm/kv_client.h"
#include "runtime/comm/nccl_blame_posix.h"
#include "runtime/comm/nccl_library_nccl.h"

namespace {

int Fail(const muster::Status& status) {
  std::printf("rank %d: %s\n", muster_rank(), status.message().c_str());
  return 1;
}

}  // namespace

int main() {
  muster::ClientStore store({muster_kv_set, muster_kv_get, muster_status_text});
  if (muster_rank() == 0) {
    auto nccl = muster::NcclLibrary::Load();
    if (!nccl.ok()) nccl = muster::NcclLibrary::Load(FAKE_NCCL);
    if (!nccl.ok()) return Fail(nccl.status());
    const auto id = (*nccl)->MakeUniqueId();
    if (!id.ok()) return Fail(id.status());
    const auto set = store.Set("nccl/w/id", std::string(id->bytes, sizeof id->bytes));
    if (!set.ok()) return Fail(set);
  }
  const auto told = store.Get("nccl/w/id", std::chrono::seconds(60));
  if (!told.ok()) return Fail(told.status());
  std::string text;
  for (const char byte : *told) {
    char digits[3];
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned char>(byte));
    text += digits;
  }
  // Who is silent is named by the same keys; rank 1 says nothing.
  muster::Blame blame(store, "nccl/w", muster_rank(), muster_world_size());
  if (muster_rank() != 1) blame.Tell(7);
  const std::string missing =
      muster_rank() == 0 ? blame.Missing(7, std::chrono::milliseconds(2000)) : "";
  std::printf("rank %d has id %s %s\n", muster_rank(), text.c_str(), missing.c_str());
  return 0;
}
