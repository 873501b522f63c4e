#include "tests/soak/crashes/history.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "runtime/checkpoint/claim.h"
#include "runtime/checkpoint/commit.h"
#include "runtime/checkpoint/inspect.h"
#include "runtime/checkpoint/load.h"
#include "runtime/checkpoint/retention.h"
#include "runtime/checkpoint/shard.h"
#include "runtime/checkpoint/whole.h"

namespace muster::checkpoint {
namespace {

constexpr char kRun[] = "run";

std::vector<StagedTensor> Tensors() {
  return {WholeTensor("count", "I64", {}), WholeTensor("half", "F16", {3, 5}),
          WholeTensor("none", "F32", {0, 4}), WholeTensor("weights", "F32", {7, 4})};
}

// Of one save and no other.
std::vector<std::byte> BytesOf(const SaveId& save) {
  std::vector<std::byte> bytes(TotalBytes(Tensors()));
  std::uint64_t x = (save.generation * 1009 + save.step) * 0x9e3779b97f4a7c15U + save.nonce;
  for (std::byte& byte : bytes) {
    x = x * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(x >> 56U);
  }
  return bytes;
}

std::string StateOf(const SaveId& save) {
  return "{\"nonce\":" + std::to_string(save.nonce) + "}";
}

std::string Text(const CommitId& id) {
  return CommitName(id);
}

class History {
 public:
  History(std::uint64_t seed, Tally& tally, bool trace)
      : random_(seed),
        share_(Chance(50)),
        nodes_(1 + static_cast<std::uint32_t>(random_() % 3)),
        keep_(1 + random_() % 3),
        attempts_(1 + random_() % 3),
        saves_(1 + random_() % 3),
        tally_(tally),
        turns_(random_(), static_cast<unsigned>(random_() % 96)),
        weather_(random_(), share_, Events(), turns_, tally, trace) {}

  std::string Run() {
    turns_.Start([this] { Keep(); });
    if (Chance(30)) turns_.Start([this] { LoadNowAndThen(); });
    turns_.Run();
    weather_.Calm();
    if (broken_.empty()) Judge();
    return broken_;
  }

 private:
  // ---- what is drawn ----
  bool Chance(unsigned percent) { return random_() % 100 < percent; }

  std::vector<Event> Events() {
    const std::uint64_t calls = attempts_ * (30 + saves_ * (40 + 14 * nodes_));
    std::vector<Event> events(1 + random_() % 5);
    for (Event& event : events) {
      using What = Event::What;
      constexpr What kWhats[] = {What::kProcess, What::kProcess, What::kNode,  What::kInLink,
                                 What::kPower,   What::kFault,   What::kFault, What::kLasting};
      event = {.call = random_() % calls,
               .what = kWhats[random_() % std::size(kWhats)],
               .death = static_cast<Death>(random_() % 3),
               .fault = kFaults[random_() % std::size(kFaults)]};
      event.until = event.call + random_() % 80;
    }
    return events;
  }

  void Break(const std::string& what) {
    weather_.Trace("BROKEN " + what);
    if (broken_.empty()) broken_ = what;
  }

  // ---- the parts of a job ----

  // As a job daemon has it done: by a mover, and by another one when it dies.
  template <typename Act>
  auto ByMovers(const char* part, const Act& act) {
    const std::uint64_t epoch = weather_.epoch;
    for (int tries = 0;; ++tries) {
      Client mover(weather_, part);
      auto done = act(mover, /*again=*/tries > 0);
      if (!mover.died() || tries == 3 || weather_.epoch != epoch) {
        return std::pair(std::move(done), mover.died());
      }
      ++tally_.counts["another mover took over"];
    }
  }

  // Starts the attempts, the next one at times while the last is still there.
  void Keep() {
    for (std::uint64_t i = 0; i < attempts_ + weather_.epoch; ++i) {
      const auto ended = std::make_shared<bool>(false);
      turns_.Start([this, ended] {
        Attempt();
        *ended = true;
      });
      const std::uint64_t patience = Chance(40) ? random_() % 150 : UINT64_MAX / 2;
      const std::uint64_t until = turns_.taken() + patience;
      // Without a limit: all others may be waiting, and time stands still.
      Wait(*ended, patience > 1000 ? UINT64_MAX : until);
      if (!*ended) ++tally_.counts["an attempt began over another"];
    }
  }

  void Wait(const bool& flag, std::uint64_t until) {
    if (until == UINT64_MAX) return turns_.Await([&flag] { return flag; });
    while (!flag && turns_.taken() < until) turns_.Await(nullptr);
  }

  void Attempt() {
    const std::uint64_t epoch = weather_.epoch;
    const auto [generation, dead] =
        ByMovers("claim", [&](Store& store, bool) { return Claim(store, kRun, random_(), 1000); });
    if (!generation.ok()) return;
    if (!claimed_.insert(*generation).second) {
      return Break("lost: generation " + std::to_string(*generation) + " was given twice");
    }
    std::optional<CommitId> loaded;
    if (!Load(&loaded)) return;
    std::uint64_t step = loaded.has_value() ? loaded->step : 0;
    for (std::uint64_t i = 0; i < saves_ && weather_.epoch == epoch; ++i) {
      step += 10;
      if (!SaveAt(*generation, step)) return;
    }
  }

  struct Saving {
    bool ended = false;
    bool overtaken = false;
  };

  // False: the attempt must stop.
  bool SaveAt(std::uint64_t generation, std::uint64_t step) {
    for (int tries = 0; tries < 2; ++tries) {
      auto saving = std::make_shared<Saving>();
      const SaveId save{.generation = generation, .step = step, .nonce = random_()};
      turns_.Start([this, save, saving] {
        Save(save, *saving);
        saving->ended = true;
      });
      const bool patient = Chance(85);
      Wait(saving->ended, patient ? UINT64_MAX : turns_.taken() + random_() % 60);
      if (saving->ended) return !saving->overtaken;
      // Its movers are left behind, and may still do anything: a writer of this very generation.
      ++tally_.counts["a save was left behind"];
      if (Chance(50)) return true;
    }
    return true;
  }

  void Save(const SaveId& save, Saving& saving) {
    std::vector<ShardReport> reports(nodes_);
    std::vector<char> wrote(nodes_, 0);
    std::uint32_t ended = 0;
    bool all = false;
    for (std::uint32_t node = 0; node < nodes_; ++node) {
      turns_.Start([&, node] {
        wrote[node] = Write(save, node, reports[node]) ? 1 : 0;
        all = ++ended == nodes_;
      });
    }
    turns_.Await([&] { return all; });
    if (std::find(wrote.begin(), wrote.end(), 0) != wrote.end()) {
      ++tally_.counts["a save was abandoned"];
      return;
    }
    const std::uint64_t claimed = claimed_.empty() ? 0 : *claimed_.rbegin();
    int tries = 0;
    const auto commit = [&](Client& store, bool again) {
      auto done = Commit(store, {.run = kRun,
                                 .save = save,
                                 .nodes = nodes_,
                                 .reports = reports,
                                 .texts = {.host_state = StateOf(save)},
                                 .time_ms = static_cast<std::int64_t>(random_() % 1000),
                                 .again = again || tries > 0});
      if (!done.ok() || store.died()) return done;
      Acknowledge(save, claimed);
      store.set_part("gc");
      static_cast<void>(LetGo(store, kRun, IdOf(save), keep_));
      return done;
    };
    auto [record, dead] = ByMovers("commit", commit);
    // As the head tries again what failed for a reason that may pass, while others go on.
    while (!dead && record.status().code() == Code::kUnavailable && ++tries <= 3 && Chance(70)) {
      ++tally_.counts["a commit was tried again"];
      const std::uint64_t until = turns_.taken() + random_() % 60;
      for (int turn = 0; turn < 100 && turns_.taken() < until; ++turn) turns_.Await(nullptr);
      std::tie(record, dead) = ByMovers("commit", commit);
      if (record.ok()) ++tally_.counts["a commit stood after all"];
    }
    if (record.ok()) return;
    saving.overtaken = record.status().code() == Code::kAborted;
    ++tally_.counts[saving.overtaken ? "a save was overtaken" : "a save was abandoned"];
  }

  bool Write(const SaveId& save, std::uint32_t node, ShardReport& report) {
    const auto tensors = Tensors();
    const auto bytes = BytesOf(save);
    const Share share = ShareOf(tensors, node, nodes_);
    auto [done, dead] = ByMovers("write", [&](Store& store, bool again) {
      return WriteShard(
          store, {.run = kRun, .save = save, .node = node, .nodes = nodes_, .again = again},
          share.boxes, std::span(bytes).subspan(share.begin, share.end - share.begin));
    });
    if (dead || !done.ok()) return false;
    report = *std::move(done);
    return true;
  }

  void Acknowledge(const SaveId& save, std::uint64_t claimed_before) {
    if (claimed_before > save.generation) {
      Break("lost: " + Text(IdOf(save)) + " was committed though generation " +
            std::to_string(claimed_before) + " had been claimed before its commit began");
    }
    const auto [at, fresh] = acknowledged_.emplace(IdOf(save), save.nonce);
    if (!fresh && at->second != save.nonce) {
      Break("lost: two saves were told to be " + Text(IdOf(save)));
    }
    ++tally_.counts["commits acknowledged"];
  }

  // ---- loads ----

  std::optional<CommitId> NewestKnown() const {
    if (acknowledged_.empty()) return std::nullopt;
    return acknowledged_.rbegin()->first;
  }

  // False: the load failed, as it may.
  bool Load(std::optional<CommitId>* id) {
    const auto due = NewestKnown();
    const std::uint64_t epoch = weather_.epoch;
    bool struck = false;
    const auto [loaded, dead] = ByMovers("load", [&](Client& store, bool) {
      auto done = LoadNewest(store, kRun);
      struck = struck || store.struck();
      return done;
    });
    if (dead || weather_.epoch != epoch) return false;
    if (!loaded.ok()) {
      if (!struck) Break("lost: a load met no fault and failed: " + loaded.status().message());
      ++tally_.counts["a load failed"];
      return false;
    }
    ++tally_.counts["loads"];
    return JudgeLoaded(*loaded, due, id);
  }

  bool JudgeLoaded(const std::optional<LoadedCheckpoint>& loaded,
                   const std::optional<CommitId>& due, std::optional<CommitId>* id) {
    if (!loaded.has_value()) {
      if (due.has_value()) Break("lost: a load found nothing, and not " + Text(*due));
      return true;
    }
    const CommitId found{.generation = loaded->generation, .step = loaded->step};
    *id = found;
    if (due.has_value() && found < *due) {
      Break("lost: a load found " + Text(found) + ", and not " + Text(*due));
    }
    if (!loaded->notes.empty()) Break("torn: " + loaded->notes.front());
    const auto record = ReadCommit(weather_.store, kRun, found);
    const std::uint64_t nonce = std::strtoull(
        loaded->host_state.substr(std::min<std::size_t>(9, loaded->host_state.size())).c_str(),
        nullptr, 10);
    const SaveId save{.generation = found.generation, .step = found.step, .nonce = nonce};
    if (loaded->tensors != Tensors() || loaded->bytes != BytesOf(save) ||
        (record.ok() && record->save.nonce != nonce)) {
      Break("torn: a load of " + Text(found) + " gave what nobody saved");
    }
    const auto known = acknowledged_.find(found);
    if (known != acknowledged_.end() && known->second != nonce) {
      Break("torn: a load of " + Text(found) + " gave another save of it");
    }
    // Who has loaded it goes on from it.  (On one machine, power may take back what no committer
    // was told of.)
    if (share_) acknowledged_.emplace(found, nonce);
    return true;
  }

  void LoadNowAndThen() {
    for (std::uint64_t i = 0; i < 1 + random_() % 4; ++i) {
      const std::uint64_t until = turns_.taken() + random_() % 100;
      for (int turn = 0; turn < 100 && turns_.taken() < until; ++turn) turns_.Await(nullptr);
      std::optional<CommitId> id;
      Load(&id);
    }
  }

  // ---- the end ----

  void Judge() {
    const Loss losses[] = {Loss::kNothing, Loss::kUnsynced, Loss::kRandom};
    weather_.store.Restart(share_ ? Loss::kUnsynced : losses[random_() % 3], random_());
    JudgeCommits();
    const auto generation = Claim(weather_.store, kRun, random_(), 1000);
    if (!generation.ok()) return Break("stuck: claiming: " + generation.status().message());
    if (!claimed_.insert(*generation).second || *claimed_.rbegin() != *generation) {
      return Break("lost: generation " + std::to_string(*generation) + " was given before");
    }
    const auto due = NewestKnown();
    const auto loaded = LoadNewest(weather_.store, kRun);
    if (!loaded.ok()) return Break("lost: the last load: " + loaded.status().message());
    std::optional<CommitId> id;
    JudgeLoaded(*loaded, due, &id);
    GoOn(*generation, id.has_value() ? id->step + 10 : 10);
  }

  // Every record is whole, and of those that somebody knows of the newest are there.
  void JudgeCommits() {
    const auto there = ListCommits(weather_.store, kRun);
    if (!there.ok()) return Break("lost: listing: " + there.status().message());
    for (const CommitId& id : *there) JudgeWhole(id);
    for (auto at = acknowledged_.rbegin(); at != acknowledged_.rend(); ++at) {
      const auto record = ReadCommit(weather_.store, kRun, at->first);
      if (record.ok() && record->save.nonce != at->second) {
        Break("lost: " + Text(at->first) + " is another save of it now");
      }
      const auto above = std::count_if(there->begin(), there->end(),
                                       [&](const CommitId& id) { return at->first < id; });
      if (!record.ok() && static_cast<std::size_t>(above) < keep_)
        Break("lost: " + Text(at->first) + " is not there");
    }
  }

  void JudgeWhole(const CommitId& id) {
    const auto found = Verify(weather_.store, kRun, id);
    for (const Damage& damage : found.damage) Break("torn: " + damage.path + ": " + damage.what);
  }

  // The next attempt's save, its clearing up, and then a flipped bit.
  void GoOn(std::uint64_t generation, std::uint64_t step) {
    if (!broken_.empty()) return;
    const SaveId save{.generation = generation, .step = step, .nonce = random_()};
    const auto tensors = Tensors();
    const auto bytes = BytesOf(save);
    const Status saved =
        SaveWhole(weather_.store, kRun, save,
                  {.tensors = tensors, .bytes = bytes, .host_state = StateOf(save)}, 1000, keep_);
    if (!saved.ok()) return Break("stuck: saving: " + saved.message());
    const auto freed = LetGo(weather_.store, kRun, IdOf(save), keep_);
    if (!freed.ok()) return Break("stuck: letting go: " + freed.status().message());
    acknowledged_[IdOf(save)] = save.nonce;
    JudgeCommits();
    const auto summary = Summarize(weather_.store, kRun);
    if (!summary.ok()) return Break("stuck: " + summary.status().message());
    if (summary->commits.size() > keep_) Break("stuck: old commits stay");
    if (!summary->rubbish.empty()) Break("stuck: rubbish stays: " + summary->rubbish.front());
    // What lies beside a commit's shards goes with them.
    for (const std::string& file : weather_.store.Files()) {
      const bool claim = file.starts_with(ClaimsFolder(kRun));
      if (claim && file.ends_with(".tmp")) Break("stuck: " + file + " stays");
    }
    if (broken_.empty()) FlipABit(save);
  }

  void FlipABit(const SaveId& save) {
    const std::string folder = FolderOf(kRun, save) + "/";
    const std::string paths[] = {CommitsFolder(kRun) + "/" + CommitName(IdOf(save)),
                                 folder + kManifestName, folder + ShardName(0, 1)};
    const std::string& path = paths[random_() % 3];
    std::string& bytes = weather_.store.Bytes(path);
    const std::size_t at = random_() % bytes.size();
    if (Chance(80)) {
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << (random_() % 8)));
    } else {
      bytes.resize(at);
    }
    ++tally_.counts["flipped or cut: " + path.substr(path.rfind('.') + 1)];
    const auto found = Verify(weather_.store, kRun, IdOf(save));
    if (found.damage.empty() || found.damage[0].path != path) {
      return Break("blind: damage to " + path + " at " + std::to_string(at) + " is not found");
    }
    const auto loaded = LoadNewest(weather_.store, kRun);
    const bool record = path == paths[0];
    if (record && !loaded.ok() && ListCommits(weather_.store, kRun)->size() > 1) {
      return Break("blind: a damaged record is not passed over: " + loaded.status().message());
    }
    if (loaded.ok() && loaded->has_value() && record) {
      // Passed over, with a note that names it.
      if ((*loaded)->notes.empty() || (*loaded)->generation == save.generation) {
        Break("blind: the damaged record " + path + " was used");
      }
    } else if (loaded.ok() || (loaded.status().message().find(path) == std::string::npos)) {
      Break("blind: a load does not name " + path + ": " + loaded.status().message());
    }
  }

  std::mt19937_64 random_;
  const bool share_;
  const std::uint32_t nodes_;
  const std::size_t keep_;
  const std::uint64_t attempts_, saves_;
  Tally& tally_;
  Turns turns_;
  Weather weather_;

  std::set<std::uint64_t> claimed_;
  std::map<CommitId, std::uint64_t> acknowledged_;  // With their nonces; also what was loaded.
  std::string broken_;
};

}  // namespace

std::string RunHistory(std::uint64_t seed, Tally& tally, bool trace) {
  return History(seed, tally, trace).Run();
}

}  // namespace muster::checkpoint
