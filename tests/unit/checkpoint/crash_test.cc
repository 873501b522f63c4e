// A process dies, or a call fails, at every single call of every part of the protocol.
#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <map>

#include "tests/fakes/faulty_store.h"
#include "tests/unit/checkpoint/sample.h"

namespace muster::checkpoint {
namespace {

struct Scenario {
  std::string name;
  std::function<void(Store&)> before;  // What the store holds.
  std::function<Status(Store&)> act;   // What is disturbed.
  std::uint64_t old_step = 0;          // What a load gives before...
  std::uint64_t new_step = 0;          // ...and after it.
};

void Commits(Store& store, std::vector<std::uint64_t> steps) {
  const std::uint64_t generation = MustClaim(store, 1);
  for (const std::uint64_t step : steps) {
    const Status saved = SaveStep(store, generation, step, 2);
    EXPECT_TRUE(saved.ok()) << saved.message();
  }
}

std::vector<Scenario> Scenarios() {
  const auto two = [](Store& store) { Commits(store, {10, 20}); };
  const auto claim = [](Store& store) {
    auto claimed = Claim(store, kRun, 2, 1000);
    return claimed.ok() ? Status() : std::move(claimed).status();
  };
  const auto save = [](std::uint32_t nodes) {
    return [nodes](Store& store) { return SaveStep(store, 1, 30, nodes); };
  };
  return {
      {"first claim", [](Store&) {}, claim, 0, 0},
      {"claim", two, claim, 20, 20},
      {"first save", [](Store& s) { Commits(s, {}); }, save(1), 0, 30},
      {"save of 1", two, save(1), 20, 30},
      {"save of 2", two, save(2), 20, 30},
      {"let go",
       [](Store& s) {
         Commits(s, {10, 20, 30});
       },
       [](Store& s) {
         auto freed = LetGo(s, kRun, {.generation = 1, .step = 30}, 1);
         return freed.ok() ? Status() : std::move(freed).status();
       },
       30, 30},
      {"save and let go", two,
       [](Store& s) {
         const auto bytes = SampleBytes(30);
         const auto tensors = SampleTensors();
         return SaveWhole(s, kRun, {.generation = 1, .step = 30, .nonce = 5},
                          {.tensors = tensors, .bytes = bytes, .host_state = SampleState(30)}, 1000,
                          /*keep=*/2);
       },
       20, 30},
      {"load", two,
       [](Store& s) {
         const auto step = LoadStep(s);
         return step.ok() ? Status() : step.status();
       },
       20, 20},
  };
}

std::size_t CallsOf(const Scenario& scenario) {
  FaultyStore store;
  scenario.before(store);
  store.FailAt(SIZE_MAX, Fault::kIo);  // Counts from here.
  EXPECT_TRUE(scenario.act(store).ok()) << scenario.name;
  return store.calls();
}

// Whatever happened: the old step or the new one, whole, and life goes on.
void ExpectSound(FaultyStore& store, const Scenario& scenario, bool acknowledged) {
  const std::uint64_t generation = MustClaim(store, 77);
  const auto loaded = LoadStep(store);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  if (acknowledged || *loaded != scenario.old_step) {
    EXPECT_EQ(*loaded, scenario.new_step);
  }
  ExpectEveryCommitWhole(store);

  const Status saved = SaveStep(store, generation, 40, 2, 78);
  ASSERT_TRUE(saved.ok()) << saved.message();
  const auto freed = LetGo(store, kRun, {.generation = generation, .step = 40}, 2);
  ASSERT_TRUE(freed.ok()) << freed.status().message();
  EXPECT_EQ(*LoadStep(store), 40U);
  const auto summary = Summarize(store, kRun);
  ASSERT_TRUE(summary.ok());
  EXPECT_LE(summary->commits.size(), 2U);
  EXPECT_TRUE(summary->rubbish.empty()) << summary->rubbish.front();
  for (const std::string& file : store.Files()) {
    EXPECT_FALSE(file.ends_with(".tmp") && file.find("g0000000001") != file.npos) << file;
  }
}

TEST(Crash, AtEveryCallLeavesTheLastCommitOrTheNewOneWhole) {
  std::size_t crashes = 0;
  std::size_t kept_old = 0;
  std::size_t got_new = 0;
  std::map<std::string, std::size_t> struck;
  for (const Scenario& scenario : Scenarios()) {
    const std::size_t calls = CallsOf(scenario);
    for (std::size_t call = 0; call < calls; ++call) {
      for (const Death death : {Death::kBefore, Death::kHalf, Death::kAfter}) {
        for (std::uint64_t seed = 0; seed < 6; ++seed) {
          const Loss loss = seed == 0   ? Loss::kNothing
                            : seed == 1 ? Loss::kUnsynced
                                        : Loss::kRandom;
          SCOPED_TRACE(scenario.name + ", call " + std::to_string(call) + ", death " +
                       std::to_string(static_cast<int>(death)) + ", seed " + std::to_string(seed));
          FaultyStore store;
          scenario.before(store);
          store.DieAt(call, death);
          const bool acknowledged = scenario.act(store).ok();
          ASSERT_TRUE(store.died());
          store.Restart(loss, seed);
          const auto first = LoadStep(store);
          ASSERT_TRUE(first.ok()) << first.status().message();
          ++(*first == scenario.new_step ? got_new : kept_old);
          ExpectSound(store, scenario, acknowledged);
          for (const auto& [kind, n] : store.struck()) struck[kind] += n;
          ++crashes;
          if (HasFailure()) return;
        }
      }
    }
    std::cout << scenario.name << ": " << calls << " calls\n";
  }
  std::cout << crashes << " crashes; old " << kept_old << ", new " << got_new << "\n";
  for (const auto& [kind, n] : struck) std::cout << "  " << kind << " " << n << "\n";
  EXPECT_GT(crashes, 2000U);
  EXPECT_GT(kept_old, 500U);
  EXPECT_GT(got_new, 500U);
  EXPECT_EQ(struck.size(), 11U) << "every kind of call was crashed in";
}

TEST(Fault, AtEveryCallLeavesTheLastCommitLoadable) {
  std::size_t faults = 0;
  std::size_t survived = 0;
  for (const Scenario& scenario : Scenarios()) {
    const std::size_t calls = CallsOf(scenario);
    for (std::size_t call = 0; call < calls; ++call) {
      for (const Fault fault : {Fault::kFull, Fault::kReadOnly, Fault::kIo, Fault::kLostReply}) {
        for (const bool lasting : {false, true}) {
          for (const bool power_lost : {false, true}) {
            SCOPED_TRACE(scenario.name + ", call " + std::to_string(call) + ", fault " +
                         std::to_string(static_cast<int>(fault)) + (lasting ? " lasting" : "") +
                         (power_lost ? ", then power lost" : ""));
            FaultyStore store;
            scenario.before(store);
            lasting ? store.FailFrom(call, fault) : store.FailAt(call, fault);
            const Status acted = scenario.act(store);
            store.Heal();
            if (power_lost) store.Restart(Loss::kUnsynced, 0);
            ExpectSound(store, scenario, acted.ok());
            ++faults;
            survived += acted.ok() ? 1U : 0U;
            if (HasFailure()) return;
          }
        }
      }
    }
  }
  std::cout << faults << " faults, " << survived << " of them did not matter\n";
  EXPECT_GT(faults, 1500U);
  EXPECT_GT(survived, 50U);
}

TEST(Fault, AFullOrReadOnlyStoreSaysSo) {
  for (const auto& [fault, code, text] :
       {std::tuple(Fault::kFull, Code::kExhausted, "No space left"),
        std::tuple(Fault::kReadOnly, Code::kDenied, "Read-only")}) {
    FaultyStore store;
    Commits(store, {10});
    store.FailFrom(0, fault);
    const Status saved = SaveStep(store, 1, 20, 1);
    EXPECT_EQ(saved.code(), code);
    EXPECT_NE(saved.message().find(text), std::string::npos) << saved.message();
    store.Heal();
    EXPECT_EQ(*LoadStep(store), 10U);
  }
}

}  // namespace
}  // namespace muster::checkpoint
