// Two attempts of one run at the same store: one steps in at every call of the other.
#include <gtest/gtest.h>

#include <algorithm>
#include <iostream>

#include "tests/fakes/faulty_store.h"
#include "tests/unit/checkpoint/sample.h"

namespace muster::checkpoint {
namespace {

// Generation 1 has committed steps 90 and 100.
void Prepare(Store& store) {
  ASSERT_EQ(MustClaim(store, 1), 1U);
  ASSERT_TRUE(SaveStep(store, 1, 90, 2).ok());
  ASSERT_TRUE(SaveStep(store, 1, 100, 2).ok());
}

// What the zombie does, unaware: the save of step 110 and what follows it.
Status ZombieSaves(Store& store, std::size_t keep) {
  const auto bytes = SampleBytes(110);
  const auto tensors = SampleTensors();
  return SaveWhole(store, kRun, {.generation = 1, .step = 110, .nonce = 0x110},
                   {.tensors = tensors, .bytes = bytes, .host_state = SampleState(110)}, 1000,
                   keep);
}

std::size_t Calls(const std::function<void(FaultyStore&)>& act) {
  FaultyStore store;
  Prepare(store);
  store.FailAt(SIZE_MAX, Fault::kIo);
  act(store);
  return store.calls();
}

// The call of `act` that is its last link: the one that publishes a record.
std::size_t LinkCall(const std::function<Status(Store&)>& act) {
  FaultyStore store;
  Prepare(store);
  store.FailAt(SIZE_MAX, Fault::kIo);
  EXPECT_TRUE(act(store).ok());
  const std::vector<std::string>& kinds = store.kinds();
  const auto last = std::find(kinds.rbegin(), kinds.rend(), "link");
  CHECK(last != kinds.rend());
  return static_cast<std::size_t>(kinds.rend() - last) - 1;
}

TEST(Fence, AfterANewerClaimAnOlderGenerationCommitsNoMore) {
  FaultyStore store;
  Prepare(store);
  ASSERT_EQ(MustClaim(store, 2), 2U);
  const Status saved = ZombieSaves(store, 3);
  EXPECT_EQ(saved.code(), Code::kAborted);
  EXPECT_NE(saved.message().find("generation 2 has been claimed"), std::string::npos);
  EXPECT_EQ(*LoadStep(store), 100U);
  EXPECT_EQ(ListCommits(store, kRun)->size(), 2U);
}

TEST(Fence, ANewerAttemptThatOnlyLoadsMayMeetAZombieAnywhere) {
  std::size_t zombie_won = 0;
  std::size_t zombie_lost = 0;
  for (const std::size_t keep : {1U, 2U}) {
    const std::size_t calls =
        Calls([&](FaultyStore& s) { EXPECT_TRUE(ZombieSaves(s, keep).ok()); });
    for (std::size_t call = 0; call < calls; ++call) {
      SCOPED_TRACE("keep " + std::to_string(keep) + ", call " + std::to_string(call));
      FaultyStore store;
      Prepare(store);
      std::uint64_t loaded = 0;
      store.ActAt(call, [&] {
        EXPECT_EQ(MustClaim(store, 2), 2U);
        const auto step = LoadStep(store);
        ASSERT_TRUE(step.ok()) << step.status().message();
        loaded = *step;
      });
      const bool won = ZombieSaves(store, keep).ok();
      store.Heal();
      ExpectEveryCommitWhole(store);
      ++(won ? zombie_won : zombie_lost);
      // Generation 1 is the highest that has a commit: what it linked in time counts.
      EXPECT_EQ(*LoadStep(store), won ? 110U : 100U);
      EXPECT_TRUE(loaded == 100 || (won && loaded == 110));
      // The newer attempt goes on from what it loaded, and from now on only that counts.
      EXPECT_TRUE(SaveStep(store, 2, loaded + 1, 1).ok());
      EXPECT_EQ(*LoadStep(store), loaded + 1);
    }
  }
  std::cout << "the zombie won " << zombie_won << " times, lost " << zombie_lost << "\n";
  EXPECT_GT(zombie_won, 10U);
  EXPECT_GT(zombie_lost, 10U);
}

TEST(Fence, ANewerAttemptThatSavesAndClearsUpMayMeetAZombieAnywhere) {
  std::size_t link_found_nothing = 0;
  const std::size_t link = LinkCall([](Store& s) { return ZombieSaves(s, 2); });
  const std::size_t calls = Calls([&](FaultyStore& s) { EXPECT_TRUE(ZombieSaves(s, 2).ok()); });
  for (const std::size_t keep : {1U, 2U, 3U}) {
    for (std::size_t call = 0; call < calls; ++call) {
      SCOPED_TRACE("keep " + std::to_string(keep) + ", call " + std::to_string(call));
      FaultyStore store;
      Prepare(store);
      store.ActAt(call, [&] {
        EXPECT_EQ(MustClaim(store, 2), 2U);
        EXPECT_TRUE(LoadStep(store).ok());
        EXPECT_TRUE(SaveStep(store, 2, 105, 2).ok());
        EXPECT_TRUE(LetGo(store, kRun, {.generation = 2, .step = 105}, keep).ok());
      });
      const Status zombie = ZombieSaves(store, 2);
      store.Heal();
      if (call == link) {
        // Between its last look and its link, everything was taken from it.
        EXPECT_FALSE(zombie.ok());
        ++link_found_nothing;
      }
      EXPECT_EQ(*LoadStep(store), 105U) << "a higher generation has a commit";
      ExpectEveryCommitWhole(store);
      EXPECT_TRUE(LetGo(store, kRun, {.generation = 2, .step = 105}, 3).ok());
      EXPECT_TRUE(Summarize(store, kRun)->rubbish.empty());
    }
  }
  EXPECT_EQ(link_found_nothing, 3U) << "the case that LetGo is careful about was reached";
}

// Movers that were left behind with step 110 may go on at any time, also when step 120 is there.
TEST(Fence, ALaterStepOfTheSameGenerationMayOvertakeASaveAnywhere) {
  std::size_t overtaken = 0;
  const std::size_t calls = Calls([&](FaultyStore& s) { EXPECT_TRUE(ZombieSaves(s, 2).ok()); });
  for (const std::size_t keep : {1U, 2U, 3U}) {
    for (std::size_t call = 0; call < calls; ++call) {
      SCOPED_TRACE("keep " + std::to_string(keep) + ", call " + std::to_string(call));
      FaultyStore store;
      Prepare(store);
      store.ActAt(call, [&] {
        EXPECT_TRUE(SaveStep(store, 1, 120, 2).ok());
        EXPECT_TRUE(LetGo(store, kRun, {.generation = 1, .step = 120}, keep).ok());
      });
      const Status saved = ZombieSaves(store, keep);
      if (store.struck().empty()) break;  // It has let go of fewer.
      store.Heal();
      overtaken += saved.code() == Code::kExists ? 1U : 0U;
      EXPECT_NE(saved.code(), Code::kAborted) << "the attempt goes on";
      EXPECT_EQ(*LoadStep(store), 120U);
      ExpectEveryCommitWhole(store);
    }
  }
  EXPECT_GT(overtaken, 10U);
}

TEST(Fence, AZombieMayStepInAnywhereInANewerAttempt) {
  const auto newer = [](Store& store) {
    const std::uint64_t generation = MustClaim(store, 2);
    const auto loaded = LoadStep(store);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_TRUE(SaveStep(store, generation, 105, 2).ok());
    EXPECT_TRUE(LetGo(store, kRun, {.generation = generation, .step = 105}, 2).ok());
  };
  const std::size_t calls = Calls(newer);
  std::size_t zombie_won = 0;
  for (std::size_t call = 0; call < calls; ++call) {
    SCOPED_TRACE("call " + std::to_string(call));
    FaultyStore store;
    Prepare(store);
    store.ActAt(call, [&] { zombie_won += ZombieSaves(store, /*keep=*/1).ok() ? 1U : 0U; });
    newer(store);
    store.Heal();
    EXPECT_EQ(*LoadStep(store), 105U);
    ExpectEveryCommitWhole(store);
  }
  EXPECT_GT(zombie_won, 5U);
  EXPECT_LT(zombie_won, calls);
}

TEST(Fence, ALoadStartsAgainWhenItsCommitIsLetGo) {
  const auto load = [](Store& store) {
    const auto step = LoadStep(store);
    EXPECT_TRUE(step.ok()) << step.status().message();
    return step.ok() ? *step : 0;
  };
  std::size_t restarted = 0;
  const std::size_t calls = Calls([&](FaultyStore& s) { load(s); });
  for (std::size_t call = 0; call < calls; ++call) {
    FaultyStore store;
    Prepare(store);
    store.ActAt(call, [&] { EXPECT_TRUE(ZombieSaves(store, /*keep=*/1).ok()); });
    const std::uint64_t step = load(store);
    restarted += step == 110 && call > 0 ? 1U : 0U;
  }
  EXPECT_GE(restarted, 3U);
}

TEST(Fence, OfTwoCommittersOfOneGenerationExactlyOneCommits) {
  const auto first = [](Store& store) { return SaveStep(store, 1, 110, 2, /*nonce=*/0xaaa); };
  const auto second = [](Store& store) { return SaveStep(store, 1, 110, 2, /*nonce=*/0xbbb); };
  const std::size_t calls = Calls([&](FaultyStore& s) { EXPECT_TRUE(first(s).ok()); });
  std::size_t first_won = 0;
  for (std::size_t call = 0; call < calls; ++call) {
    SCOPED_TRACE("call " + std::to_string(call));
    FaultyStore store;
    Prepare(store);
    Status other;
    store.ActAt(call, [&] { other = second(store); });
    const Status one = first(store);
    store.Heal();
    EXPECT_NE(one.ok(), other.ok());
    EXPECT_EQ((one.ok() ? other : one).code(), Code::kAborted);
    const auto record = ReadCommit(store, kRun, {.generation = 1, .step = 110});
    ASSERT_TRUE(record.ok());
    EXPECT_EQ(record->save.nonce, one.ok() ? 0xaaaU : 0xbbbU);
    EXPECT_EQ(*LoadStep(store), 110U);
    first_won += one.ok() ? 1U : 0U;
  }
  EXPECT_GT(first_won, 0U);
  EXPECT_LT(first_won, calls);
}

// Somebody clears up by hand, and takes what is being written.
TEST(Fence, ASaveWhoseFolderIsRemovedAnywhereFailsAndTheNextOneDoesNot) {
  const SaveId id{.generation = 1, .step = 110, .nonce = 0xabc};
  const std::string folder = FolderOf(kRun, id);
  const auto save = [](Store& store) { return SaveStep(store, 1, 110, 2, 0xabc); };
  const std::size_t link = LinkCall(save);
  std::size_t refused = 0, unseen = 0;
  for (std::size_t call = 0; call <= link; ++call) {
    SCOPED_TRACE("call " + std::to_string(call));
    FaultyStore store;
    Prepare(store);
    bool removed = false;
    store.ActAt(call, [&] {
      const auto names = store.List(folder);
      if (!names.ok()) return;
      for (const std::string& name : *names) EXPECT_TRUE(store.Unlink(folder + "/" + name).ok());
      removed = store.RemoveFolder(folder).ok();
    });
    const Status saved = save(store);
    store.Heal();
    refused += saved.ok() ? 0U : 1U;
    if (!saved.ok()) {
      EXPECT_TRUE(removed);
      EXPECT_EQ(*LoadStep(store), 100U);
      ExpectEveryCommitWhole(store);
    } else if (removed) {  // Too late for the committer to see it.
      ++unseen;
      EXPECT_EQ(LoadStep(store).status().code(), Code::kNotFound) << "and never an older one";
    } else {
      EXPECT_EQ(*LoadStep(store), 110U);
    }
    ASSERT_TRUE(SaveStep(store, 1, 120, 2).ok());
    EXPECT_EQ(*LoadStep(store), 120U);
  }
  std::cout << "refused " << refused << ", not seen " << unseen << "\n";
  EXPECT_GT(refused, 2 * unseen);
}

TEST(Fence, TwoClaimsAtOnceNeverShareAGeneration) {
  const std::size_t calls = Calls([](FaultyStore& s) { MustClaim(s, 2); });
  for (std::size_t call = 0; call < calls; ++call) {
    FaultyStore store;
    Prepare(store);
    std::uint64_t other = 0;
    store.ActAt(call, [&] { other = MustClaim(store, 3); });
    const std::uint64_t one = MustClaim(store, 2);
    EXPECT_NE(one, other);
    EXPECT_EQ(*HighestClaim(store, kRun), std::max(one, other));
  }
}

TEST(Fence, ALinkWhoseReplyIsLostIsFoundByLooking) {
  const auto save = [](Store& store) { return SaveStep(store, 1, 110, 1); };
  FaultyStore store;
  Prepare(store);
  store.FailAt(LinkCall(save), Fault::kLostReply);
  EXPECT_TRUE(save(store).ok());
  store.Restart(Loss::kUnsynced, 0);
  EXPECT_EQ(*LoadStep(store), 110U);

  const auto claim = [](Store& s) { return Claim(s, kRun, 9, 1000).status(); };
  store.FailAt(LinkCall(claim), Fault::kLostReply);
  EXPECT_EQ(MustClaim(store, 9), 2U);
}

TEST(Fence, ARecordThatReadsBackAsSomethingElseIsNoCommit) {
  const auto save = [](Store& store) { return SaveStep(store, 1, 110, 1); };
  const std::size_t link = LinkCall(save);
  FaultyStore store;
  Prepare(store);
  const std::string path = CommitsFolder(kRun) + "/" + CommitName({.generation = 1, .step = 110});
  store.ActAt(link + 1, [&] { store.Bytes(path)[3] ^= 1; });
  const Status saved = save(store);
  EXPECT_EQ(saved.code(), Code::kDataLoss);
  EXPECT_NE(saved.message().find(path + " reads back as something else"), std::string::npos);
  store.Heal();
  EXPECT_EQ(*LoadStep(store), 100U);
}

// A mover that hangs in link(2) is killed, yet the request is on its way to the server.
TEST(Fence, ALinkInFlightMayLandAnywhereInANewerAttemptsClearingUp) {
  const auto save = [](Store& store) { return SaveStep(store, 1, 110, 1); };
  const auto clear = [](Store& store) {
    EXPECT_TRUE(LetGo(store, kRun, {.generation = 2, .step = 105}, 3).ok());
  };
  const SaveId id{.generation = 1, .step = 110, .nonce = 0xabc};
  const std::size_t link = LinkCall(save);
  std::size_t landed = 0;
  std::size_t calls = 1;
  for (std::size_t call = 0; call < calls; ++call) {
    SCOPED_TRACE("call " + std::to_string(call));
    FaultyStore store;
    Prepare(store);
    store.DieAt(link, Death::kBefore);
    EXPECT_FALSE(save(store).ok());
    store.Restart(Loss::kNothing, 0);
    ASSERT_EQ(MustClaim(store, 2), 2U);
    ASSERT_TRUE(SaveStep(store, 2, 105, 1).ok());
    store.ActAt(call, [&] {
      landed += store.Link(ClaimsFolder(kRun) + "/" + CommitTemporaryName(id, 1000),
                           CommitsFolder(kRun) + "/" + CommitName(IdOf(id)))
                        .ok()
                    ? 1U
                    : 0U;
    });
    clear(store);
    calls = store.calls();
    store.Heal();
    ExpectEveryCommitWhole(store);
    EXPECT_EQ(*LoadStep(store), 105U);
  }
  EXPECT_GT(landed, 3U);
  EXPECT_LT(landed, calls);
}

// A name that was given up does not come back: the next try writes its record under another one.
TEST(Fence, ALinkThatFailedPublishesNothingOfTheNextTryEither) {
  const auto save = [](Store& store, bool again) {
    return SaveStep(store, 1, 110, 1, 0xabc, again);
  };
  const std::size_t link = LinkCall([&](Store& store) { return save(store, false); });
  const SaveId id{.generation = 1, .step = 110, .nonce = 0xabc};
  std::size_t died = 0;
  bool more = true;
  for (std::size_t call = 0; more; ++call) {
    SCOPED_TRACE("call " + std::to_string(call));
    FaultyStore store;
    Prepare(store);
    store.FailAt(link, Fault::kIo);
    EXPECT_FALSE(save(store, false).ok());
    store.DieAt(call, Death::kHalf);
    const bool saved = save(store, true).ok();
    more = store.died();
    EXPECT_TRUE(saved || more);
    died += more ? 1U : 0U;
    store.Restart(Loss::kNothing, 1);
    static_cast<void>(store.Link(ClaimsFolder(kRun) + "/" + CommitTemporaryName(id, 1000),
                                 CommitsFolder(kRun) + "/" + CommitName(IdOf(id))));
    ExpectEveryCommitWhole(store);
  }
  EXPECT_GT(died, 20U);
}

TEST(Fence, ALinkThatFailedCannotTakeEffectLater) {
  const auto save = [](Store& store) { return SaveStep(store, 1, 110, 1); };
  FaultyStore store;
  Prepare(store);
  store.FailAt(LinkCall(save), Fault::kIo);
  EXPECT_FALSE(save(store).ok());
  store.Heal();
  const SaveId id{.generation = 1, .step = 110, .nonce = 0xabc};
  const Status late = store.Link(ClaimsFolder(kRun) + "/" + CommitTemporaryName(id, 1000),
                                 CommitsFolder(kRun) + "/" + CommitName(IdOf(id)));
  EXPECT_EQ(late.code(), Code::kNotFound);
  EXPECT_EQ(*LoadStep(store), 100U);
}

}  // namespace
}  // namespace muster::checkpoint
