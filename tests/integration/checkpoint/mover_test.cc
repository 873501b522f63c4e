// The mover as a real process, on a real file system.
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <iostream>
#include <random>

#include "runtime/base/mover_posix.h"
#include "runtime/base/mover_progress.h"
#include "runtime/checkpoint/store_posix.h"
#include "tests/integration/checkpoint/mover_process_posix.h"
#include "tests/unit/checkpoint/sample.h"

namespace muster::mover {
namespace {

using checkpoint::SampleBytes;
using checkpoint::SampleState;
using checkpoint::SampleTensors;
using checkpoint::ShareOf;

template <typename T>
T Expect(const MoverProcess::Answered& answered) {
  if (const auto* failed = std::get_if<Failed>(&answered.answer)) {
    ADD_FAILURE() << CodeName(failed->code) << ": " << failed->text;
  }
  const auto* wanted = std::get_if<T>(&answered.answer);
  return wanted != nullptr ? *wanted : T{};
}

std::string TextOf(const MoverProcess::Answered& answered, Code code) {
  const auto* failed = std::get_if<Failed>(&answered.answer);
  if (failed == nullptr) {
    ADD_FAILURE() << "no failure";
    return {};
  }
  EXPECT_EQ(failed->code, code) << failed->text;
  return failed->text;
}

Open OpenAt(const std::string& path) {
  return {.store = path, .run = checkpoint::kRun};
}

Write WriteOf(std::uint64_t generation, std::uint64_t step, std::uint32_t node,
              std::uint32_t nodes) {
  return {.generation = generation,
          .step = step,
          .nonce = 7,
          .node = node,
          .nodes = nodes,
          .tensors = ShareOf(SampleTensors(), node, nodes).boxes};
}

UniqueFd MemoryFor(std::uint64_t step, std::uint32_t node, std::uint32_t nodes) {
  const auto bytes = SampleBytes(step);
  const auto share = ShareOf(SampleTensors(), node, nodes);
  return MemoryOf({bytes.begin() + static_cast<std::ptrdiff_t>(share.begin),
                   bytes.begin() + static_cast<std::ptrdiff_t>(share.end)});
}

Commit CommitOf(std::uint64_t generation, std::uint64_t step,
                const std::vector<ShardReport>& reports) {
  return {.generation = generation,
          .step = step,
          .nonce = 7,
          .nodes = static_cast<std::uint32_t>(reports.size()),
          .reports = reports,
          .host_state = SampleState(step)};
}

MoverProcess::Answered Save(MoverProcess& mover, std::uint64_t generation, std::uint64_t step) {
  auto written = mover.Ask(WriteOf(generation, step, 0, 1), MemoryFor(step, 0, 1).get());
  if (!std::holds_alternative<Written>(written.answer)) return written;
  return mover.Ask(CommitOf(generation, step, {std::get<Written>(written.answer).report}));
}

void ExpectLoads(MoverProcess& mover, std::uint64_t step) {
  auto answered = mover.Ask(Load{});
  const auto loaded = Expect<Loaded>(answered);
  EXPECT_TRUE(loaded.found);
  EXPECT_EQ(loaded.step, step);
  EXPECT_TRUE(loaded.tensors == SampleTensors());
  EXPECT_EQ(loaded.host_state, SampleState(step));
  ASSERT_TRUE(answered.payload.valid());
  EXPECT_TRUE(BytesOf(answered.payload.get()) == SampleBytes(step));
}

TEST(Mover, TwoNodesSaveAndEachLoadsTheWhole) {
  const TemporaryFolder folder;
  MoverProcess head;
  MoverProcess other;
  Expect<Opened>(head.Ask(OpenAt(folder.path())));
  Expect<Opened>(other.Ask(OpenAt(folder.path())));
  const auto claimed = Expect<Claimed>(head.Ask(Claim{.attempt = 0}));
  EXPECT_EQ(claimed.generation, 1U);
  EXPECT_FALSE(Expect<Loaded>(other.Ask(Load{})).found);
  const auto first =
      Expect<Written>(head.Ask(WriteOf(1, 10, 0, 2), MemoryFor(10, 0, 2).get())).report;
  const auto second =
      Expect<Written>(other.Ask(WriteOf(1, 10, 1, 2), MemoryFor(10, 1, 2).get())).report;
  EXPECT_EQ(Expect<Committed>(head.Ask(CommitOf(1, 10, {second, first}))).step, 10U);
  ExpectLoads(head, 10);
  ExpectLoads(other, 10);
}

TEST(Mover, KeepsAsManyCommitsAsAskedFor) {
  const TemporaryFolder folder;
  MoverProcess mover;
  Expect<Opened>(mover.Ask(OpenAt(folder.path())));
  Expect<Claimed>(mover.Ask(Claim{}));
  for (std::uint64_t step = 1; step <= 6; ++step) Expect<Committed>(Save(mover, 1, step));
  ExpectLoads(mover, 6);  // Answered after the old ones went.
  auto store = checkpoint::OpenStore(folder.path());
  const auto summary = checkpoint::Summarize(**store, checkpoint::kRun);
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->commits.size(), 3U);
  EXPECT_TRUE(summary->rubbish.empty());
}

TEST(Mover, ARunThatMustBeThereIsNotBegun) {
  const TemporaryFolder folder;
  MoverProcess mover;
  Expect<Opened>(mover.Ask(OpenAt(folder.path())));
  const Claim claim{.attempt = 0, .must_exist = true};
  EXPECT_EQ(TextOf(mover.Ask(claim), Code::kNotFound),
            std::string("it has no run ") + checkpoint::kRun +
                " to go on with; `muster ckpt ls` lists those it has");
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
  Expect<Claimed>(mover.Ask(Claim{}));
  EXPECT_EQ(Expect<Claimed>(mover.Ask(claim)).generation, 2U);
  Expect<Committed>(Save(mover, 2, 5));
  std::filesystem::remove_all(folder.path() + "/" + checkpoint::kRun + "/claims");
  EXPECT_EQ(Expect<Claimed>(mover.Ask(claim)).generation, 3U);  // It has a commit.
}

TEST(Mover, AnswersEachMistakeAndLivesOn) {
  const TemporaryFolder folder;
  MoverProcess mover;
  EXPECT_EQ(TextOf(mover.Ask(Claim{}), Code::kInvalid), "mover: no store is open");
  const std::string missing = folder.path() + "/missing";
  EXPECT_NE(TextOf(mover.Ask(OpenAt(missing)), Code::kNotFound).find(missing), std::string::npos);
  TextOf(mover.Ask(Open{.store = folder.path(), .run = "../up"}), Code::kInvalid);
  TextOf(mover.Ask(Open{.store = "/dev/null", .run = "r"}), Code::kInvalid);
  TextOf(mover.Ask(Open{.store = "nfs://host", .run = "r"}), Code::kInvalid);
  Expect<Opened>(mover.Ask(OpenAt(folder.path())));
  Expect<Claimed>(mover.Ask(Claim{}));
  TextOf(mover.Ask(WriteOf(1, 5, 0, 1)), Code::kInvalid);  // Without memory.
  TextOf(mover.Ask(WriteOf(1, 5, 0, 1), MemoryOf({std::byte{1}}).get()), Code::kInvalid);
  TextOf(mover.Ask(CommitOf(1, 5, {})), Code::kInvalid);
  Expect<Committed>(Save(mover, 1, 6));
  Expect<Claimed>(mover.Ask(Claim{}));
  EXPECT_NE(TextOf(Save(mover, 1, 7), Code::kAborted).find("generation 2"), std::string::npos);
  ExpectLoads(mover, 6);
}

TEST(Mover, CarriesListsThatNoPacketHolds) {
  const TemporaryFolder folder;
  MoverProcess mover;
  Expect<Opened>(mover.Ask(OpenAt(folder.path())));
  Expect<Claimed>(mover.Ask(Claim{}));
  Write write{.generation = 1, .step = 1, .nonce = 1, .node = 0, .nodes = 1};
  for (int i = 0; i < 20000; ++i) {
    write.tensors.push_back(
        checkpoint::WholeTensor("layer." + std::to_string(i) + ".weight", "F32", {2, 4}));
  }
  ASSERT_GT(EncodeVariant(ToMover(write)).size(), 1U << 20U);
  const std::vector<std::byte> bytes(std::size_t{20000} * 32, std::byte{42});
  auto report = Expect<Written>(mover.Ask(write, MemoryOf(bytes).get())).report;
  Expect<Committed>(
      mover.Ask(Commit{.generation = 1, .step = 1, .nonce = 1, .nodes = 1, .reports = {report}}));
  auto answered = mover.Ask(Load{});
  std::sort(write.tensors.begin(), write.tensors.end(),
            [](const auto& a, const auto& b) { return a.name < b.name; });
  EXPECT_TRUE(Expect<Loaded>(answered).tensors == write.tensors);
  EXPECT_TRUE(BytesOf(answered.payload.get()) == bytes);
}

TEST(Mover, ReadsTheBlocksThatAreAskedForIntoTheMemoryItIsHanded) {
  const TemporaryFolder folder;
  MoverProcess mover;
  Expect<Opened>(mover.Ask(OpenAt(folder.path())));
  EXPECT_FALSE(Expect<CheckpointOpened>(mover.Ask(OpenNewest{})).found);
  Expect<Claimed>(mover.Ask(Claim{}));
  Expect<Committed>(Save(mover, 1, 10));
  MoverProcess other;  // Has opened nothing of it.
  Expect<Opened>(other.Ask(OpenAt(folder.path())));
  auto answered = mover.Ask(OpenNewest{});
  const auto opened = Expect<CheckpointOpened>(answered);
  ASSERT_TRUE(opened.found && answered.payload.valid());
  const auto bytes = BytesOf(answered.payload.get());
  ASSERT_EQ(bytes.size(), opened.bytes);
  const auto manifest = checkpoint::Manifest::Parse(
      std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  ASSERT_TRUE(manifest.ok());
  const auto plan = checkpoint::LoadPlan::Make(*manifest, SampleTensors());
  ASSERT_TRUE(plan.ok());
  const checkpoint::ManifestFile file = manifest->file(0);
  ReadBlocks read{.generation = 1,
                  .step = 10,
                  .nonce = 7,
                  .file = std::string(file.name),
                  .file_size = file.size,
                  .crcs = {file.crcs.begin(), file.crcs.end()}};
  const UniqueFd memory = MemoryOf(std::vector<std::byte>(file.size + 5));
  Expect<BlocksRead>(other.Ask(read, memory.get()));
  std::vector<std::byte> loaded(checkpoint::TotalBytes(SampleTensors()));
  std::vector<std::byte*> into;
  std::byte* at = loaded.data();
  for (const auto& tensor : SampleTensors()) {
    into.push_back(at);
    at += checkpoint::BoxBytes(tensor);
  }
  const auto read_bytes = BytesOf(memory.get());
  plan->Scatter(0, 0, std::span(read_bytes).first(file.size), into);
  EXPECT_TRUE(loaded == SampleBytes(10));

  TextOf(other.Ask(read), Code::kInvalid);  // Without memory.
  TextOf(other.Ask(read, MemoryOf({std::byte{1}}).get()), Code::kInvalid);
  ReadBlocks wrong = read;
  wrong.crcs[0] ^= 1;
  TextOf(other.Ask(wrong, memory.get()), Code::kDataLoss);
  wrong = read;
  wrong.file = "../../claims/g0000000001.json";
  TextOf(other.Ask(wrong, memory.get()), Code::kInvalid);
  wrong = read;
  wrong.file_size += 1;
  EXPECT_NE(TextOf(other.Ask(wrong, memory.get()), Code::kDataLoss).find("should have"),
            std::string::npos);
  Expect<BlocksRead>(other.Ask(read, memory.get()));
}

TEST(Mover, TellsWhereItIsInThePageThatItIsHanded) {
  const TemporaryFolder folder;
  MoverProcess mover;
  TextOf(mover.Ask(OpenAt(folder.path()), MemoryOf({std::byte{1}}).get()), Code::kInvalid);
  const UniqueFd page = MemoryOf(std::vector<std::byte>(sizeof(Progress)));
  Expect<Opened>(mover.Ask(OpenAt(folder.path()), page.get()));
  Expect<Claimed>(mover.Ask(Claim{}));
  const auto at = [&] {
    auto bytes = BytesOf(page.get());
    const auto* progress = reinterpret_cast<const Progress*>(bytes.data());
    return std::tuple(progress->moves.load(), progress->bytes.load(), progress->Where(1));
  };
  const std::uint64_t before = std::get<0>(at());
  EXPECT_GT(before, 0U);
  Write write = WriteOf(1, 5, 0, 1);
  write.bytes_per_s = 1'000'000'000;
  Expect<Written>(mover.Ask(write, MemoryFor(5, 0, 1).get()));
  const auto [moves, bytes, where] = at();
  EXPECT_GT(moves, before);
  EXPECT_GE(bytes, 4096U);
  EXPECT_NE(where.find("fsync of the folder run/data/g0000000001-s000000000005-"),
            std::string::npos)
      << where;
}

// In a local store: of runs whose job daemon was killed, and that no attempt came back for.
TEST(Mover, RemovesWhatWasForgottenOnItsNodeAndNothingElse) {
  namespace fs = std::filesystem;
  const TemporaryFolder folder;
  const auto make = [&](const std::string& name, std::chrono::hours age) {
    const fs::path run = fs::path(folder.path()) / name;
    fs::create_directories(run / "data/g1");
    EXPECT_TRUE(WriteFileAtomically((run / "data/g1/shard").string(), "bytes").ok());
    const auto then = fs::file_time_type::clock::now() - age;
    for (const auto& at : {run / "data/g1/shard", run / "data/g1", run / "data", run}) {
      fs::last_write_time(at, then);
    }
    return run;
  };
  const std::string run(32, 'a'), other(32, 'b');
  const std::chrono::hours old(25), young(23);
  MoverProcess of_another;
  const auto runs = make(std::string(32, 'e') + ".n1", old);
  Expect<Opened>(of_another.Ask(Open{.store = folder.path(), .run = runs.filename()}));
  Expect<PartsFound>(of_another.Ask(FindParts{}));
  for (const auto& at : {runs / "data", runs}) {
    fs::last_write_time(at, fs::file_time_type::clock::now() - old);
  }
  const auto forgotten = make(other + ".n1", old);
  const auto own = make(run + ".n1", old);
  const fs::path stays[] = {own,
                            make(std::string(32, 'c') + ".n1", young),
                            make(other + ".n2", old),
                            make("mine.n1", old),
                            make(std::string(32, 'g') + ".n1", old),
                            make(other, old)};
  // Only what is in it has changed since.
  const auto used = make(std::string(32, 'd') + ".n1", old);
  fs::last_write_time(used / "data/g1/shard", fs::file_time_type::clock::now());
  MoverProcess mover;
  Expect<Opened>(mover.Ask(Open{.store = folder.path(), .run = run + ".n1"}));
  EXPECT_TRUE(Expect<PartsFound>(mover.Ask(FindParts{})).parts.empty());
  EXPECT_TRUE(Expect<PartsFound>(mover.Ask(FindParts{})).parts.empty()) << "when it has swept";
  EXPECT_FALSE(fs::exists(forgotten));
  for (const auto& path : stays) EXPECT_TRUE(fs::exists(path / "data/g1/shard")) << path;
  EXPECT_TRUE(fs::exists(used));
  EXPECT_TRUE(fs::exists(runs / "data")) << "its mover lives";
}

// Who may take a nice value back, as a mover of root's agent may, writes behind the ranks.
TEST(Mover, IsNicerThanTheRanksWhileItWritesAndNoLonger) {
  if (geteuid() != 0) GTEST_SKIP() << "skipped: needs root";
  TemporaryFolder folder;
  MoverProcess mover;
  const auto nice = [&] { return getpriority(PRIO_PROCESS, static_cast<id_t>(mover.pid())); };
  const int before = nice();
  Expect<Opened>(mover.Ask(OpenAt(folder.path())));
  Expect<Claimed>(mover.Ask(Claim{}));
  Write write = WriteOf(1, 5, 0, 1);
  write.bytes_per_s = 8192;
  mover.Send(write, MemoryFor(5, 0, 1).get());
  bool nicer = false;
  while (!mover.Ready(1000)) nicer = nicer || nice() == 10;
  EXPECT_TRUE(nicer);
  Expect<Written>(mover.Receive());
  Expect<Opened>(mover.Ask(OpenAt(folder.path())));
  EXPECT_EQ(nice(), before);
}

TEST(Mover, EndsWith0OnQuitAndWhenTheSocketCloses) {
  MoverProcess quits;
  quits.Send(Quit{});
  EXPECT_EQ(quits.Wait(), 0);
  MoverProcess closed;
  closed.CloseSocket();
  EXPECT_EQ(closed.Wait(), 0);
}

TEST(Mover, CtrlCInTheTerminalDoesNotEndIt) {
  const TemporaryFolder folder;
  MoverProcess mover;
  Expect<Opened>(mover.Ask(OpenAt(folder.path())));
  kill(mover.pid(), SIGINT);
  kill(mover.pid(), SIGHUP);
  Expect<Claimed>(mover.Ask(Claim{}));
}

// The parent starts a mover and somebody who holds the socket open, then is killed.
TEST(Mover, DiesWithItsParentThoughTheSocketStaysOpen) {
  ASSERT_EQ(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
  int tell[2];
  ASSERT_EQ(pipe2(tell, O_CLOEXEC), 0);
  const pid_t parent = fork();
  if (parent == 0) {
    MoverProcess mover;
    const TemporaryFolder folder;
    const bool up = std::holds_alternative<Opened>(mover.Ask(OpenAt(folder.path())).answer);
    const pid_t holder = fork();
    if (holder == 0) {
      for (;;) pause();
    }
    const pid_t pids[2] = {up ? mover.pid() : 0, holder};
    static_cast<void>(RemoveTree(folder.path()));
    static_cast<void>(WriteAll(tell[1], pids, sizeof pids));
    for (;;) pause();
  }
  pid_t pids[2] = {0, 0};
  ASSERT_TRUE(ReadAll(tell[0], pids, sizeof pids).ok());
  ASSERT_GT(pids[0], 0);
  kill(parent, SIGKILL);
  int status = 0;
  EXPECT_EQ(waitpid(parent, nullptr, 0), parent);
  EXPECT_EQ(waitpid(pids[0], &status, 0), pids[0]);  // Reaped here, its subreaper.
  EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  kill(pids[1], SIGKILL);
  waitpid(pids[1], nullptr, 0);
  close(tell[0]);
  close(tell[1]);
  prctl(PR_SET_CHILD_SUBREAPER, 0);
}

// Mounts a small tmpfs over `path`, which only this process and its children see.
void MountSmall(const std::string& path) {
  const bool ok = unshare(CLONE_NEWNS) == 0 &&
                  mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                  mount("muster-test", path.c_str(), "tmpfs", 0, "size=4m") == 0;
  if (!ok) _exit(99);
}

// Remounts `path` in the mounts of process `pid`.
void Remount(pid_t pid, const std::string& path, unsigned long flags) {
  const pid_t child = fork();
  if (child == 0) {
    const std::string mounts = "/proc/" + std::to_string(pid) + "/ns/mnt";
    const int fd = open(mounts.c_str(), O_RDONLY | O_CLOEXEC);
    const bool ok = setns(fd, CLONE_NEWNS) == 0 &&
                    mount(nullptr, path.c_str(), nullptr, MS_REMOUNT | flags, "size=4m") == 0;
    _exit(ok ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_EQ(status, 0);
}

TEST(Mover, AFullAndAReadOnlyStoreAreSaidAndTheLastCommitStands) {
  if (geteuid() != 0) GTEST_SKIP() << "skipped: needs root";
  const TemporaryFolder folder;
  MoverProcess mover([&] { MountSmall(folder.path()); });
  Expect<Opened>(mover.Ask(OpenAt(folder.path())));
  Expect<Claimed>(mover.Ask(Claim{}));
  Expect<Committed>(Save(mover, 1, 10));

  const std::vector<std::byte> large(6U << 20U, std::byte{1});
  Write write{.generation = 1, .step = 20, .nonce = 1, .node = 0, .nodes = 1};
  write.tensors = {checkpoint::WholeTensor("large", "U8", {large.size()})};
  EXPECT_NE(TextOf(mover.Ask(write, MemoryOf(large).get()), Code::kExhausted)
                .find("No space left on device"),
            std::string::npos);
  ExpectLoads(mover, 10);
  Expect<Committed>(Save(mover, 1, 30));  // The failed save gave its room back.
  ExpectLoads(mover, 30);

  Remount(mover.pid(), folder.path(), MS_RDONLY);
  EXPECT_NE(TextOf(Save(mover, 1, 40), Code::kDenied).find("Read-only file system"),
            std::string::npos);
  TextOf(mover.Ask(Claim{}), Code::kDenied);
  ExpectLoads(mover, 30);
  Remount(mover.pid(), folder.path(), 0);
  Expect<Committed>(Save(mover, 1, 50));
  ExpectLoads(mover, 50);
}

// One life of a mover: works until a moment drawn at random, then kill -9.
struct Life {
  std::uint64_t acknowledged = 0;  // The newest step that was answered by Committed.
  std::uint64_t tried = 0;         // The newest step that was begun.
  std::size_t killed_in = 0;       // Index of the request that had no answer.
};

Life LiveOnce(const std::string& path, std::uint64_t next_step, std::mt19937_64& random) {
  Life life;
  MoverProcess mover;
  auto left_us = static_cast<int>(random() % 12000);
  const auto ask = [&](const ToMover& request, int payload = -1) -> std::optional<FromMover> {
    mover.Send(request, payload);
    const int part = std::clamp(static_cast<int>(random() % 3000), 0, std::max(left_us, 0));
    left_us -= part;
    if (left_us <= 0 && !mover.Ready(part)) {
      life.killed_in = request.index();
      return std::nullopt;
    }
    auto answered = mover.Receive();
    if (const auto* failed = std::get_if<Failed>(&answered.answer)) {
      ADD_FAILURE() << failed->text;
      return std::nullopt;
    }
    return std::move(answered.answer);
  };
  if (!ask(OpenAt(path))) return life;
  const auto claimed = ask(Claim{});
  if (!claimed || !ask(Load{})) return life;
  const std::uint64_t generation = std::get<Claimed>(*claimed).generation;
  for (std::uint64_t step = next_step; step < next_step + 1000; ++step) {
    life.tried = step;
    const auto written = ask(WriteOf(generation, step, 0, 1), MemoryFor(step, 0, 1).get());
    if (!written) break;
    if (!ask(CommitOf(generation, step, {std::get<Written>(*written).report}))) break;
    life.acknowledged = step;
  }
  return life;
}

TEST(Mover, KilledAtAnyMomentNothingCommittedIsLostOrMixed) {
  const std::uint64_t seed = std::random_device()();
  std::cout << "seed " << seed << "\n";
  std::mt19937_64 random(seed);
  const TemporaryFolder folder;
  auto store = checkpoint::OpenStore(folder.path());
  std::uint64_t newest = 0;
  std::uint64_t commits = 0;
  std::vector<std::size_t> killed_in(std::variant_size_v<ToMover>);
  for (int round = 0; round < 200 && !testing::Test::HasFailure(); ++round) {
    const Life life = LiveOnce(folder.path(), newest + 1, random);
    ++killed_in[life.killed_in];
    const auto loaded = checkpoint::LoadStep(**store);
    ASSERT_TRUE(loaded.ok()) << loaded.status().message();
    EXPECT_GE(*loaded, std::max(newest, life.acknowledged));
    EXPECT_LE(*loaded, std::max(newest, life.tried));
    checkpoint::ExpectEveryCommitWhole(**store);
    commits += *loaded - newest;
    newest = *loaded;
  }
  std::cout << commits << " commits; killed in open " << killed_in[0] << ", claim " << killed_in[1]
            << ", write " << killed_in[2] << ", commit " << killed_in[3] << ", load "
            << killed_in[4] << "\n";
  EXPECT_GT(commits, 50U);
  EXPECT_GT(killed_in[2], 5U);
  EXPECT_GT(killed_in[3], 5U);

  MoverProcess last;  // Life goes on, and retention clears up.
  Expect<Opened>(last.Ask(OpenAt(folder.path())));
  const auto claimed = Expect<Claimed>(last.Ask(Claim{}));
  Expect<Committed>(Save(last, claimed.generation, newest + 1));
  ExpectLoads(last, newest + 1);
  const auto summary = checkpoint::Summarize(**store, checkpoint::kRun);
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->commits.size(), 3U);
  EXPECT_TRUE(summary->rubbish.empty());
}

}  // namespace
}  // namespace muster::mover
