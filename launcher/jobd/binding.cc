#include "launcher/jobd/binding.h"

#include <algorithm>
#include <set>

namespace muster {
namespace {

std::vector<std::int32_t> NumaNodes(const Machine& machine) {
  std::set<std::int32_t> numas;
  for (const Core& core : machine.cores) numas.insert(core.numa);
  return {numas.begin(), numas.end()};
}

// How the machine's slots lie over its NUMA nodes: with their GPUs, else evenly.
class Layout {
 public:
  Layout(const Machine& machine, std::uint32_t total) : machine_(machine) {
    const std::vector<std::int32_t> numas = NumaNodes(machine);
    for (std::uint32_t slot = 0; slot < total; ++slot) {
      std::int32_t numa = numas.empty() ? -1 : numas[slot * numas.size() / total];
      if (slot < machine.gpus.size()) {
        const std::int32_t near = machine.gpus[slot].numa;
        if (std::find(numas.begin(), numas.end(), near) != numas.end()) numa = near;
      }
      numa_of_.push_back(numa);
    }
  }

  std::int32_t NumaOf(std::uint32_t slot) const { return numa_of_[slot]; }

  // Of `things` that the slot's NUMA node has, the share of the slot among its neighbours there.
  template <typename T>
  std::vector<const T*> Share(std::uint32_t slot, const std::vector<T>& things) const {
    const std::vector<const T*> here = Here(slot, things);
    std::size_t before = 0, peers = 0;
    for (std::uint32_t other = 0; other < numa_of_.size(); ++other) {
      if (numa_of_[other] != numa_of_[slot]) continue;
      before += other < slot ? 1 : 0;
      ++peers;
    }
    const auto begin = static_cast<std::ptrdiff_t>(before * here.size() / peers);
    const auto end = static_cast<std::ptrdiff_t>((before + 1) * here.size() / peers);
    return {here.begin() + begin, here.begin() + end};
  }

  template <typename T>
  std::vector<const T*> Here(std::uint32_t slot, const std::vector<T>& things) const {
    std::vector<const T*> here;
    for (const T& thing : things) {
      if (thing.numa == numa_of_[slot]) here.push_back(&thing);
    }
    return here;
  }

  // Several slots may share one.
  std::string NicOf(std::uint32_t slot) const {
    const std::vector<const Device*> here = Here(slot, machine_.nics);
    if (here.empty()) return "";
    const auto before = static_cast<std::size_t>(
        std::count(numa_of_.begin(), numa_of_.begin() + slot, numa_of_[slot]));
    return here[before % here.size()]->name;
  }

 private:
  const Machine& machine_;
  std::vector<std::int32_t> numa_of_;
};

void Tie(SeatPlan& plan, const std::vector<const Core*>& cores) {
  plan.cores = static_cast<std::uint32_t>(cores.size());
  for (const Core* core : cores) {
    plan.cpus.insert(plan.cpus.end(), core->cpus.begin(), core->cpus.end());
  }
  std::sort(plan.cpus.begin(), plan.cpus.end());
  plan.seat.cpus = CpuList(plan.cpus);
}

}  // namespace

SeatingPlan PlanSeats(const Machine& machine, const SeatWish& wish) {
  std::uint32_t total = std::max(wish.total, 1U);
  for (const std::uint32_t slot : wish.slots) total = std::max(total, slot + 1);
  const Layout layout(machine, total);
  const bool several = NumaNodes(machine).size() > 1;
  const Bind bind = wish.bind != Bind::kAuto ? wish.bind : several ? Bind::kNuma : Bind::kNone;
  SeatingPlan plan;
  for (std::size_t i = 0; i < wish.slots.size(); ++i) {
    const std::uint32_t slot = wish.slots[i];
    SeatPlan made;
    made.seat.rank = wish.first_rank + static_cast<std::uint32_t>(i);
    made.seat.slot = slot;
    made.seat.numa = several ? layout.NumaOf(slot) : -1;
    if (slot < machine.gpus.size()) made.seat.gpu = static_cast<std::int32_t>(slot);
    made.seat.nic = layout.NicOf(slot);
    if (bind == Bind::kNuma) Tie(made, layout.Here(slot, machine.cores));
    if (bind == Bind::kCore) Tie(made, layout.Share(slot, machine.cores));
    plan.seats.push_back(std::move(made));
  }
  const bool short_of_cores =
      bind == Bind::kCore && std::any_of(plan.seats.begin(), plan.seats.end(),
                                         [](const SeatPlan& made) { return made.cpus.empty(); });
  if (!short_of_cores) return plan;
  plan.note = "nobody is bound: the machine has " + std::to_string(machine.cores.size()) +
              " cores for " + std::to_string(total) + " slots";
  for (SeatPlan& made : plan.seats) {
    made.cpus.clear();
    made.cores = 0;
    made.seat.cpus.clear();
  }
  return plan;
}

std::string CpuList(std::vector<std::uint32_t> cpus) {
  std::sort(cpus.begin(), cpus.end());
  std::string text;
  for (std::size_t i = 0; i < cpus.size();) {
    std::size_t end = i + 1;
    while (end < cpus.size() && cpus[end] == cpus[end - 1] + 1) ++end;
    text += (text.empty() ? "" : ",") + std::to_string(cpus[i]);
    if (end - i > 1) text += "-" + std::to_string(cpus[end - 1]);
    i = end;
  }
  return text;
}

}  // namespace muster
