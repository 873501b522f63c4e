// A process dies, or a call fails, at every single call of every part of the protocol.
#include <gtest/gtest.h>

#include <algorithm>
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

void Commits(Store& store, const std::vector<std::uint64_t>& steps) {
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

// The store before, and the kinds of calls that the scenario makes on it.
struct Stage {
  FaultyStore before;
  std::vector<std::string> calls;
};

Stage Prepare(const Scenario& scenario) {
  Stage stage;
  scenario.before(stage.before);
  FaultyStore store(stage.before);
  store.FailAt(SIZE_MAX, Fault::kIo);  // Counts from here.
  EXPECT_TRUE(scenario.act(store).ok()) << scenario.name;
  stage.calls = store.kinds();
  return stage;
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
    const bool claim = file.starts_with(ClaimsFolder(kRun));
    EXPECT_FALSE(claim && file.ends_with(".tmp") && file.find("g0000000001") != file.npos) << file;
  }
}

// What the storms reached.
struct Tally {
  std::size_t cases = 0, kept_old = 0, got_new = 0, acknowledged = 0;
  std::map<std::string, std::size_t> struck;
};

void CrashOnce(const Scenario& scenario, FaultyStore& store, Loss loss, std::uint64_t seed,
               Tally& tally) {
  const bool acknowledged = scenario.act(store).ok();
  ASSERT_TRUE(store.died());
  store.Restart(loss, seed);
  const auto first = LoadStep(store);
  ASSERT_TRUE(first.ok()) << first.status().message();
  ++(*first == scenario.new_step ? tally.got_new : tally.kept_old);
  ExpectSound(store, scenario, acknowledged);
  for (const auto& [kind, n] : store.struck()) tally.struck[kind] += n;
  ++tally.cases;
}

TEST(Crash, AtEveryCallLeavesTheLastCommitOrTheNewOneWhole) {
  Tally tally;
  for (const Scenario& scenario : Scenarios()) {
    const Stage stage = Prepare(scenario);
    std::cout << scenario.name << ": " << stage.calls.size() << " calls\n";
    for (std::size_t call = 0; call < stage.calls.size(); ++call) {
      for (const Death death : {Death::kBefore, Death::kHalf, Death::kAfter}) {
        if (death == Death::kHalf && stage.calls[call] != "write") continue;
        for (std::uint64_t seed = 0; seed < 6; ++seed) {
          const Loss loss = seed == 0   ? Loss::kNothing
                            : seed == 1 ? Loss::kUnsynced
                                        : Loss::kRandom;
          SCOPED_TRACE(scenario.name + ", call " + std::to_string(call) + ", death " +
                       std::to_string(static_cast<int>(death)) + ", seed " + std::to_string(seed));
          FaultyStore store(stage.before);
          store.DieAt(call, death);
          CrashOnce(scenario, store, loss, seed, tally);
          if (HasFailure()) return;
        }
      }
    }
  }
  std::cout << tally.cases << " crashes; old " << tally.kept_old << ", new " << tally.got_new
            << "\n";
  for (const auto& [kind, n] : tally.struck) std::cout << "  " << kind << " " << n << "\n";
  EXPECT_GT(tally.cases, 1800U);
  EXPECT_GT(tally.kept_old, 500U);
  EXPECT_GT(tally.got_new, 500U);
  EXPECT_EQ(tally.struck.size(), 11U) << "every kind of call was crashed in";
}

// Movers that die, one after the other, over the same save; the machine goes on.
TEST(Crash, ASaveIsDoneAgainWhereverItsMoversDied) {
  FaultyStore before;
  Commits(before, {10, 20});
  FaultyStore whole(before);
  whole.FailAt(SIZE_MAX, Fault::kIo);
  ASSERT_TRUE(SaveStep(whole, 1, 30, 2).ok());
  std::size_t published = 0, cases = 0;
  for (std::size_t call = 0; call < whole.calls(); ++call) {
    for (const Death death : {Death::kBefore, Death::kHalf, Death::kAfter}) {
      if (death == Death::kHalf && whole.kinds()[call] != "write") continue;
      for (const std::size_t second : {std::size_t{0}, call, SIZE_MAX}) {
        SCOPED_TRACE("call " + std::to_string(call) + ", then " + std::to_string(second));
        FaultyStore store(before);
        store.DieAt(call, death);
        static_cast<void>(SaveStep(store, 1, 30, 2));
        store.Restart(Loss::kNothing, 0);
        published += *LoadStep(store) == 30 ? 1U : 0U;
        store.DieAt(second, death);
        static_cast<void>(SaveStep(store, 1, 30, 2, 0xabc, /*again=*/true));
        store.Restart(Loss::kNothing, 0);
        const Status saved = SaveStep(store, 1, 30, 2, 0xabc, /*again=*/true);
        ASSERT_TRUE(saved.ok()) << saved.message();
        store.Restart(Loss::kUnsynced, 0);
        EXPECT_EQ(*LoadStep(store), 30U);
        ExpectEveryCommitWhole(store);
        const auto summary = Summarize(store, kRun);
        ASSERT_TRUE(summary.ok());
        EXPECT_EQ(summary->commits.size(), 3U);
        ++cases;
      }
    }
  }
  EXPECT_GT(cases, 100U);
  EXPECT_GT(published, 10U);
}

void FailOnce(const Scenario& scenario, FaultyStore& store, bool power_lost, Tally& tally) {
  const bool acknowledged = scenario.act(store).ok();
  store.Heal();
  if (power_lost) store.Restart(Loss::kUnsynced, 0);
  ExpectSound(store, scenario, acknowledged);
  ++tally.cases;
  tally.acknowledged += acknowledged ? 1U : 0U;
}

TEST(Fault, AtEveryCallLeavesTheLastCommitLoadable) {
  Tally tally;
  for (const Scenario& scenario : Scenarios()) {
    const Stage stage = Prepare(scenario);
    for (std::size_t call = 0; call < stage.calls.size(); ++call) {
      for (const Fault fault : kFaults) {
        for (const unsigned how : {0U, 1U, 2U, 3U}) {
          const bool lasting = (how & 1U) != 0;
          const bool power_lost = (how & 2U) != 0;
          SCOPED_TRACE(scenario.name + ", call " + std::to_string(call) + ", fault " +
                       std::to_string(static_cast<int>(fault)) + (lasting ? " lasting" : "") +
                       (power_lost ? ", then power lost" : ""));
          FaultyStore store(stage.before);
          lasting ? store.FailFrom(call, fault) : store.FailAt(call, fault);
          FailOnce(scenario, store, power_lost, tally);
          if (HasFailure()) return;
        }
      }
    }
  }
  std::cout << tally.cases << " faults, " << tally.acknowledged << " of them did not matter\n";
  EXPECT_GT(tally.cases, 1500U);
  EXPECT_GT(tally.acknowledged, 50U);
}

// As a job daemon has it tried again: by then its time is another.
Result<CommitRecord> CommitAgain(Store& store, CommitOrder order) {
  order.again = true;
  order.time_ms += 5000;
  return Commit(store, order);
}

TEST(Fault, ACommitThatFailedIsTriedAgainAndStandsOnce) {
  FaultyStore before;
  Commits(before, {10, 20});
  const auto order = WriteStep(before, 1, 30, 2);
  ASSERT_TRUE(order.ok());
  FaultyStore whole(before);
  whole.FailAt(SIZE_MAX, Fault::kIo);
  ASSERT_TRUE(Commit(whole, *order).ok());
  std::size_t failed = 0, stood = 0;
  for (std::size_t call = 0; call < whole.calls(); ++call) {
    for (const Fault fault : {Fault::kIo, Fault::kStale, Fault::kLostReply, Fault::kLate}) {
      for (const std::size_t lasts : {std::size_t{1}, std::size_t{2}, std::size_t{5}}) {
        SCOPED_TRACE("call " + std::to_string(call) + ", fault " +
                     std::to_string(static_cast<int>(fault)) + ", of " + std::to_string(lasts));
        FaultyStore store(before);
        lasts == 1 ? store.FailAt(call, fault) : store.FailFrom(call, fault);
        const auto first = Commit(store, *order);
        failed += first.ok() ? 0U : 1U;
        store.Heal();
        stood += *LoadStep(store) == 30 ? 1U : 0U;
        // Some tries more meet the same.
        for (std::size_t tries = 2; tries < lasts; ++tries) {
          store.FailAt(tries * call / lasts, fault);
          static_cast<void>(CommitAgain(store, *order));
          store.Heal();
        }
        const auto again = CommitAgain(store, *order);
        ASSERT_TRUE(again.ok()) << again.status().message();
        EXPECT_EQ(again->save, order->save);
        store.Restart(Loss::kUnsynced, 0);
        EXPECT_EQ(*LoadStep(store), 30U);
        ExpectEveryCommitWhole(store);
        EXPECT_EQ(Summarize(store, kRun)->commits.size(), 3U);
        if (HasFailure()) return;
      }
    }
  }
  EXPECT_GT(failed, 100U);
  EXPECT_GT(stood, 20U) << "the record was there, and only nobody had been told";
}

// Its link takes effect when the next try has written a record of its own, with another time.
TEST(Fault, ACommitWhoseLinkComesLateIsNotTakenForAnothers) {
  FaultyStore before;
  Commits(before, {10, 20});
  const auto order = WriteStep(before, 1, 30, 2);
  ASSERT_TRUE(order.ok());
  FaultyStore first(before);
  first.FailAt(SIZE_MAX, Fault::kIo);
  ASSERT_TRUE(Commit(first, *order).ok());
  const std::string path = CommitsFolder(kRun) + "/" + CommitName(IdOf(order->save));
  const std::string record = first.Bytes(path);
  const auto kinds = first.kinds();
  const auto link = std::find(kinds.rbegin(), kinds.rend(), "link");
  ASSERT_NE(link, kinds.rend());
  FaultyStore failed(before);
  failed.FailAt(static_cast<std::size_t>(kinds.rend() - link) - 1, Fault::kIo);
  ASSERT_FALSE(Commit(failed, *order).ok());
  failed.Heal();
  std::size_t calls = 1, landed = 0;
  for (std::size_t call = 0; call < calls; ++call) {
    SCOPED_TRACE("call " + std::to_string(call));
    FaultyStore store(failed);
    store.ActAt(call, [&] {
      auto file = store.Create("late");
      ASSERT_TRUE(file.ok());
      ASSERT_TRUE((*file)->WriteAt(0, std::as_bytes(std::span(record))).ok());
      ASSERT_TRUE((*file)->SyncAndClose().ok());
      landed += store.Link("late", path).ok() ? 1U : 0U;
      ASSERT_TRUE(store.Unlink("late").ok());
    });
    const auto again = CommitAgain(store, *order);
    calls = store.calls();
    store.Heal();
    ASSERT_TRUE(again.ok()) << again.status().message();
    EXPECT_EQ(again->save, order->save);
    EXPECT_EQ(*LoadStep(store), 30U);
    ExpectEveryCommitWhole(store);
  }
  EXPECT_GT(landed, 10U);
}

// Whoever cleared up after the newer commit has removed its shards.
TEST(Fault, ACommitIsNotTriedAgainBehindANewerOne) {
  FaultyStore before;
  Commits(before, {10, 20});
  const auto order = WriteStep(before, 1, 30, 2);
  ASSERT_TRUE(order.ok());
  FaultyStore whole(before);
  whole.FailAt(SIZE_MAX, Fault::kIo);
  ASSERT_TRUE(Commit(whole, *order).ok());
  std::size_t cases = 0;
  for (std::size_t call = 0; call < whole.calls(); ++call) {
    SCOPED_TRACE("call " + std::to_string(call));
    FaultyStore store(before);
    store.FailAt(call, Fault::kIo);
    if (Commit(store, *order).ok()) continue;
    store.Heal();
    ASSERT_TRUE(SaveStep(store, 1, 40, 2, 0xdef).ok());
    ASSERT_TRUE(LetGo(store, kRun, {.generation = 1, .step = 40}, 1).ok());
    EXPECT_EQ(CommitAgain(store, *order).status().code(), Code::kExists);
    EXPECT_EQ(*LoadStep(store), 40U);
    EXPECT_EQ(Summarize(store, kRun)->commits.size(), 1U);
    ++cases;
  }
  EXPECT_GT(cases, 10U);
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
