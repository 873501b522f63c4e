// The named parallel axes of a job: a mesh of ranks, and a process group along each axis.
//
// With the dimensions {"node", 2}, {"rank", 4} rank r stands at (r / 4, r % 4), the last dimension
// counting fastest; the group "rank" has the 4 ranks of the same node, ordered by that coordinate.
// The numbers are those of the group that is laid out, however they lie on the machines.
//
// One instance belongs to one rank; one thread.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "runtime/comm/process_group.h"

namespace muster {

struct MeshDimension {
  std::string name;
  int size = 0;
};

// kInvalid: the sizes' product is not `ranks`, or a name is empty or there twice.
Status CheckMesh(std::span<const MeshDimension> dimensions, int ranks);

// Where a rank stands, a coordinate for each dimension.
std::vector<int> MeshCoordinates(std::span<const MeshDimension> dimensions, int rank);

class Mesh {
 public:
  // Collective over `world`: one split for each dimension, in their order.
  static Result<Mesh> Make(ProcessGroup& world, std::vector<MeshDimension> dimensions);

  // kNotFound names the dimensions that there are.
  Result<ProcessGroup*> group(const std::string& name) const;
  Result<int> coordinate(const std::string& name) const;
  const std::vector<MeshDimension>& dimensions() const { return dimensions_; }

 private:
  Result<std::size_t> Find(const std::string& name) const;

  std::vector<MeshDimension> dimensions_;
  std::vector<int> coordinates_;
  std::vector<std::unique_ptr<ProcessGroup>> groups_;
};

}  // namespace muster
