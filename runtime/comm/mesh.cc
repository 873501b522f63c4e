#include "runtime/comm/mesh.h"

#include <set>

#include "runtime/base/text.h"

namespace muster {

Status CheckMesh(std::span<const MeshDimension> dimensions, int ranks) {
  std::int64_t product = 1;
  std::set<std::string> names;
  std::string shape;
  for (const MeshDimension& dimension : dimensions) {
    shape += (shape.empty() ? "" : " x ") + std::to_string(dimension.size);
    if (dimension.name.empty() || !names.insert(dimension.name).second) {
      return Status(Code::kInvalid,
                    "mesh: each dimension has a name of its own, not '" + dimension.name + "'");
    }
    if (dimension.size < 1 || dimension.size > ranks) {
      return Status(Code::kInvalid, "mesh: dimension '" + dimension.name + "' has " +
                                        std::to_string(dimension.size) + " ranks; there are " +
                                        std::to_string(ranks));
    }
    product *= dimension.size;
    if (product > ranks) break;
  }
  if (product == ranks) return {};
  return Status(Code::kInvalid, "mesh: " + (shape.empty() ? "no dimension" : shape) +
                                    " is not the group's " + std::to_string(ranks) + " ranks");
}

std::vector<int> MeshCoordinates(std::span<const MeshDimension> dimensions, int rank) {
  std::vector<int> coordinates(dimensions.size());
  for (std::size_t d = dimensions.size(); d-- > 0;) {
    coordinates[d] = rank % dimensions[d].size;
    rank /= dimensions[d].size;
  }
  return coordinates;
}

Result<Mesh> Mesh::Make(ProcessGroup& world, std::vector<MeshDimension> dimensions) {
  RETURN_IF_ERROR(CheckMesh(dimensions, world.world_size()));
  Mesh mesh;
  mesh.dimensions_ = std::move(dimensions);
  mesh.coordinates_ = MeshCoordinates(mesh.dimensions_, world.rank());
  for (std::size_t d = 0; d < mesh.dimensions_.size(); ++d) {
    // The color: where the rank stands along all other dimensions.
    int color = 0;
    for (std::size_t other = 0; other < mesh.dimensions_.size(); ++other) {
      if (other == d) continue;
      color = color * mesh.dimensions_[other].size + mesh.coordinates_[other];
    }
    auto group = world.split(color, mesh.coordinates_[d]);
    if (!group.ok())
      return std::move(group).status().While("mesh '" + mesh.dimensions_[d].name + "'");
    mesh.groups_.push_back(*std::move(group));
  }
  return mesh;
}

Result<std::size_t> Mesh::Find(const std::string& name) const {
  std::vector<std::string> names;
  for (std::size_t d = 0; d < dimensions_.size(); ++d) {
    if (dimensions_[d].name == name) return d;
    names.push_back(dimensions_[d].name);
  }
  return Status(Code::kNotFound,
                "the mesh has no dimension '" + name + "'; it has " + Join(names, ", "));
}

Result<ProcessGroup*> Mesh::group(const std::string& name) const {
  const auto at = Find(name);
  if (!at.ok()) return at.status();
  return groups_[*at].get();
}

Result<int> Mesh::coordinate(const std::string& name) const {
  const auto at = Find(name);
  if (!at.ok()) return at.status();
  return coordinates_[*at];
}

}  // namespace muster
