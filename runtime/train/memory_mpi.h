// Memory that MPI shares among the ranks of a node: for runs without a launcher of ours.  It ends
// with the ranks.  Get is collective over the node; so is the destructor, before MPI ends.
#pragma once

#include <memory>

#include "runtime/train/memory.h"
#include "runtime/train/topology.h"

namespace muster {

class MpiMemory final : public Memory {
 public:
  explicit MpiMemory(Place place);
  ~MpiMemory() override;
  MpiMemory(const MpiMemory&) = delete;
  MpiMemory& operator=(const MpiMemory&) = delete;

  Result<Region> Get(const std::string& name, std::size_t bytes) override;

 private:
  struct Windows;
  const std::unique_ptr<Windows> windows_;
};

}  // namespace muster
