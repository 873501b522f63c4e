// Acts on a store as jobs do, and says what it does, one line each; for tests that break the store
// meanwhile.
//
//   store_drill STORE save RUN FIRST LAST MIB [GO]   claims, then commits the steps FIRST to LAST;
//                                               each but the first waits for the file GO.STEP
//   store_drill STORE check RUN                 loads the newest commit, and verifies every one
//   store_drill STORE write NAME MIB            writes and syncs one file
//   store_drill STORE mkdir NAME
//   store_drill STORE unlink NAME
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "runtime/base/clock.h"
#include "runtime/base/text.h"
#include "runtime/checkpoint/box.h"
#include "runtime/checkpoint/inspect.h"
#include "runtime/checkpoint/store_nfs.h"
#include "runtime/checkpoint/store_posix.h"
#include "runtime/checkpoint/whole.h"

namespace muster::checkpoint {
namespace {

void Say(const std::string& line) {
  std::cout << line << std::endl;
}

std::string Why(const Status& status) {
  return std::string(CodeName(status.code())) + ": " + status.message();
}

std::int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             RealClock().Wall().time_since_epoch())
      .count();
}

// A function of the step: a mix of two can never pass for one.
std::vector<std::byte> BytesOf(std::uint64_t step, std::size_t size) {
  std::vector<std::byte> bytes(size);
  std::uint64_t x = step * 0x9e3779b97f4a7c15U + 1;
  for (std::size_t at = 0; at + sizeof x <= size; at += sizeof x) {
    x ^= x << 13U;
    x ^= x >> 7U;
    x ^= x << 17U;
    std::memcpy(bytes.data() + at, &x, sizeof x);
  }
  return bytes;
}

struct Steps {
  std::uint64_t first = 0, last = 0, mib = 0;
  std::string go;
};

int Save(Store& store, const std::string& run, const Steps& steps) {
  const auto nonce = FreshNonce();
  const auto generation = Claim(store, run, *nonce, NowMs());
  if (!generation.ok()) {
    Say("failed claim: " + Why(generation.status()));
    return 1;
  }
  Say("claimed " + std::to_string(*generation));
  for (std::uint64_t step = steps.first; step <= steps.last; ++step) {
    const std::string go = steps.go + "." + std::to_string(step);
    while (step > steps.first && !steps.go.empty() && !std::filesystem::exists(go)) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    const auto bytes = BytesOf(step, steps.mib << 20U);
    const std::vector<StagedTensor> tensors{WholeTensor("weights", "F32", {steps.mib << 18U})};
    Say("saving " + std::to_string(step));
    const Status saved =
        SaveWhole(store, run, {.generation = *generation, .step = step, .nonce = *FreshNonce()},
                  {.tensors = tensors,
                   .bytes = bytes,
                   .host_state = "{\"step\":" + std::to_string(step) + "}"},
                  NowMs());
    Say((saved.ok() ? "committed " : "failed ") + std::to_string(step) +
        (saved.ok() ? "" : " " + Why(saved)));
  }
  Say("done");
  return 0;
}

int Check(Store& store, const std::string& run) {
  auto loaded = LoadNewest(store, run);
  if (!loaded.ok()) {
    Say("torn: " + Why(loaded.status()));
    return 1;
  }
  const std::uint64_t step = loaded->has_value() ? (*loaded)->step : 0;
  const bool whole = step == 0 || ((*loaded)->bytes == BytesOf(step, (*loaded)->bytes.size()) &&
                                   (*loaded)->notes.empty());
  std::size_t damage = whole ? 0 : 1;
  const auto commits = ListCommits(store, run);
  if (!commits.ok()) {
    Say("torn: " + Why(commits.status()));
    return 1;
  }
  for (const CommitId& commit : *commits) {
    for (const Damage& one : Verify(store, run, commit).damage) {
      Say("damaged " + one.path + " MiB " + std::to_string(one.mib) + ": " + one.what);
      ++damage;
    }
  }
  Say("loaded " + std::to_string(step) + ", " + std::to_string(commits->size()) + " commits, " +
      std::to_string(damage) + " damaged");
  return damage == 0 ? 0 : 1;
}

int Write(Store& store, const std::string& name, std::uint64_t mib) {
  const auto bytes = BytesOf(1, mib << 20U);
  Say("writing " + name);
  const TimePoint begin = RealClock().Now();
  const auto file = store.Create(name);
  Status status = file.ok() ? Status() : file.status();
  constexpr std::size_t kSlice = 8U << 20U;
  for (std::size_t at = 0; status.ok() && at < bytes.size(); at += kSlice) {
    status =
        (*file)->WriteAt(at, std::span(bytes).subspan(at, std::min(kSlice, bytes.size() - at)));
  }
  if (status.ok()) status = (*file)->SyncAndClose();
  const std::chrono::duration<double> took = RealClock().Now() - begin;
  Say(status.ok() ? "written " + std::to_string(took.count()) : "failed " + Why(status));
  return status.ok() ? 0 : 1;
}

int Main(const std::vector<std::string>& arguments) {
  if (arguments.size() < 2) return 2;
  auto store = OpenAnyStore(arguments[0]);
  if (!store.ok()) {
    Say("failed open: " + Why(store.status()));
    return 1;
  }
  const auto number = [&](std::size_t i) { return ParseUnsigned(arguments.at(i)).value_or(0); };
  const std::string& verb = arguments[1];
  if (verb == "save") {
    return Save(**store, arguments.at(2),
                {.first = number(3),
                 .last = number(4),
                 .mib = number(5),
                 .go = arguments.size() > 6 ? arguments[6] : ""});
  }
  if (verb == "check") return Check(**store, arguments.at(2));
  if (verb == "write") return Write(**store, arguments.at(2), number(3));
  if (verb == "mkdir") return (*store)->MakeFolder(arguments.at(2)).ok() ? 0 : 1;
  if (verb == "unlink") return (*store)->Unlink(arguments.at(2)).ok() ? 0 : 1;
  return 2;
}

}  // namespace
}  // namespace muster::checkpoint

int main(int argc, char** argv) {
  return muster::checkpoint::Main({argv + 1, argv + argc});
}
