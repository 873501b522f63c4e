// What every process group must do, whatever carries it: run on each rank of a group.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/comm/process_group.h"

namespace muster::testing {

using Complaints = std::vector<std::string>;

// What the suite may know of a group.
struct GroupShape {
  // The node of each rank where all_reduce goes over nodes; empty: ranks are combined in order.
  std::vector<int> nodes;
  // Sums and products of floats have an order of their own: they are compared as numbers.
  bool own_order = false;
};

// One sentence for each promise that did not hold on this rank.
Complaints BrokenPromises(ProcessGroup& group, const GroupShape& shape = {});

// The parts of it.
void CheckReductions(ProcessGroup& group, const GroupShape& shape, Complaints& complaints);
void CheckMoves(ProcessGroup& group, Complaints& complaints);
void CheckTransfers(ProcessGroup& group, Complaints& complaints);
void CheckStarted(ProcessGroup& group, Complaints& complaints);
void CheckParts(ProcessGroup& group, Complaints& complaints);
void CheckArguments(ProcessGroup& group, Complaints& complaints);
void CheckDisagreements(ProcessGroup& group, Complaints& complaints);
void CheckEnds(ProcessGroup& group, Complaints& complaints);

void Expect(bool held, const std::string& promise, Complaints& complaints);
void ExpectOk(const Status& status, const std::string& doing, Complaints& complaints);

// Bytes that tell who sent them, and which message it was.
std::vector<std::byte> Message(std::size_t size, int from, int number);

// 16-bit floats by their definition, for comparison.
double ValueOf(DType dtype, std::uint16_t bits);
std::uint16_t Rounded(DType dtype, double value);

}  // namespace muster::testing
