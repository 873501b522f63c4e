// A rank that uses its link: memory, a checkpoint, the word to stop.  jobd_link_test reads what it
// prints.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>

#include "runtime/base/link_posix.h"

namespace muster {
namespace {

constexpr std::uint64_t kFloats = 1000;  // Of a node.
constexpr auto kPatience = std::chrono::seconds(20);

void Say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

void LoadAll(RankLink& link, std::uint32_t nodes) {
  const auto loaded = link.Load(kPatience);
  if (!loaded.ok()) return Say("load failed: " + loaded.status().message());
  if (!loaded->what.found) return Say("nothing to load");
  const std::uint64_t bytes = nodes * kFloats * sizeof(float);
  const auto* floats =
      static_cast<const float*>(mmap(nullptr, bytes, PROT_READ, MAP_SHARED, loaded->fd.get(), 0));
  bool right = floats != MAP_FAILED && loaded->what.tensors.size() == 1;
  for (std::uint64_t i = 0; right && i < nodes * kFloats; ++i) {
    right = floats[i] == static_cast<float>(i);
  }
  Say("loaded step " + std::to_string(loaded->what.step) + (right ? " right" : " WRONG"));
}

void Save(RankLink& link, std::uint64_t step, std::uint32_t node, std::uint32_t nodes) {
  auto memory = link.GetMemory("stage", kFloats * sizeof(float), kPatience);
  if (!memory.ok()) return Say("no memory: " + memory.status().message());
  auto* floats = static_cast<float*>(mmap(nullptr, kFloats * sizeof(float), PROT_READ | PROT_WRITE,
                                          MAP_SHARED, memory->fd.get(), 0));
  Say(floats[1] == 0 ? "memory is fresh" : "memory was kept");
  for (std::uint64_t i = 0; i < kFloats; ++i) floats[i] = static_cast<float>(node * kFloats + i);
  const Status staged = link.Stage({.step = step,
                                    .memory = "stage",
                                    .tensors = {{.name = "weights",
                                                 .dtype = "F32",
                                                 .global_shape = {nodes * kFloats},
                                                 .offset = {node * kFloats},
                                                 .shape = {kFloats}}},
                                    .host_state = "{}"});
  if (!staged.ok()) return Say("stage failed: " + staged.message());
  Say("staged");
  const TimePoint deadline = RealClock().Now() + kPatience;
  std::vector<link::Saved> saved;
  while (saved.empty() && RealClock().Now() < deadline) {
    if (!link.Poll(std::chrono::seconds(1)).ok()) return Say("link closed");
    saved = link.TakeSaved();
    if (saved.empty() || !saved[0].local) continue;
    Say("on the local disk");
    saved.erase(saved.begin());
  }
  Say(saved.empty()            ? "nothing about the save"
      : saved[0].error.empty() ? "saved"
                               : "not saved: " + saved[0].error);
}

// Each when its file is there.
void SaveWhenTold(RankLink& link, const std::string& folder) {
  for (const std::uint64_t step : {30U, 40U, 50U}) {
    while (access((folder + "/save-" + std::to_string(step)).c_str(), F_OK) != 0) {
      if (!link.Poll(std::chrono::milliseconds(5)).ok() || link.stop_requested()) return;
    }
    Save(link, step, 0, 1);
    Say("step " + std::to_string(step) + " is over");
  }
}

int Run(bool saves_at_the_end, const std::string& when_told) {
  const auto who = WhoAmI();
  if (!who.ok()) return 2;
  const RankInfo& info = *who;
  auto link = RankLink::Open(info);
  if (!link.ok()) {
    Say("no link: " + link.status().message());
    return 1;
  }
  if (info.local_rank == 0) {
    const auto node = static_cast<std::uint32_t>(info.node_rank);
    const auto nodes = static_cast<std::uint32_t>(info.num_nodes);
    LoadAll(**link, nodes);
    Save(**link, 10, node, nodes);
  }
  (*link)->Report({.step = 10, .phase = link::Phase::kTraining, .note = "in training"});
  Say("waits");
  if (!when_told.empty() && info.local_rank == 0) SaveWhenTold(**link, when_told);
  while (!(*link)->stop_requested() && (*link)->Poll(std::chrono::seconds(1)).ok()) {
  }
  if (saves_at_the_end && info.local_rank == 0) {
    Save(**link, 20, static_cast<std::uint32_t>(info.node_rank),
         static_cast<std::uint32_t>(info.num_nodes));
  }
  Say("stops");
  (*link)->Bye(0);
  return 0;
}

}  // namespace
}  // namespace muster

int main(int argc, char** argv) {
  return muster::Run(argc == 2, argc > 2 ? argv[2] : "");
}
