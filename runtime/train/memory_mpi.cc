#include "runtime/train/memory_mpi.h"

#include <mpi.h>

#include <cstring>
#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/text.h"
#include "runtime/comm/mpi_lock_threads.h"

namespace muster {

struct MpiMemory::Windows {
  MPI_Comm node = MPI_COMM_NULL;
  int local_rank = 0;
  std::vector<MPI_Win> all;
};

MpiMemory::MpiMemory(Place place) : windows_(std::make_unique<Windows>()) {
  const MpiLock lock;
  CHECK(MPI_Comm_split(MPI_COMM_WORLD, place.node, place.local_rank, &windows_->node) ==
        MPI_SUCCESS);
  windows_->local_rank = place.local_rank;
}

MpiMemory::~MpiMemory() {
  const MpiLock lock;
  for (MPI_Win& window : windows_->all) MPI_Win_free(&window);
  MPI_Comm_free(&windows_->node);
}

Result<Memory::Region> MpiMemory::Get(const std::string& name, std::size_t bytes) {
  constexpr std::size_t kPage = 4096;
  const MpiLock lock;
  // The first rank's part is everything; one page more, since MPI promises no alignment.
  const bool first = windows_->local_rank == 0;
  MPI_Win window = MPI_WIN_NULL;
  void* mine = nullptr;
  if (MPI_Win_allocate_shared(first ? static_cast<MPI_Aint>(bytes + kPage) : 0, 1, MPI_INFO_NULL,
                              windows_->node, static_cast<void*>(&mine), &window) != MPI_SUCCESS) {
    return Status(Code::kExhausted, "MPI has no " + HumanBytes(bytes) + " of shared memory for " +
                                        name + " (is /dev/shm large enough?)");
  }
  windows_->all.push_back(window);
  MPI_Aint size = 0;
  int unit = 0;
  void* base = nullptr;
  CHECK(MPI_Win_shared_query(window, 0, &size, &unit, static_cast<void*>(&base)) == MPI_SUCCESS);
  // Each rank maps it elsewhere, but at the same place within a page.
  const auto address = reinterpret_cast<std::uintptr_t>(base);
  auto* start = static_cast<std::byte*>(base) + (kPage - address % kPage) % kPage;
  if (first) std::memset(start, 0, bytes);
  MPI_Barrier(windows_->node);
  return Region{.bytes = {start, bytes}};
}

}  // namespace muster
