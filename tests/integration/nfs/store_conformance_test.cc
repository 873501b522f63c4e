// What store.h promises, of every kind of store.
//
// Alone: a folder of this machine, and the faulty store.  With MUSTER_TEST_STORE=STORE of that one
// only: nfs_test.py gives it nfs:// URLs, and shares that a kernel client has mounted.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <functional>

#include "runtime/checkpoint/store_nfs.h"
#include "runtime/checkpoint/store_posix.h"
#include "tests/fakes/faulty_store.h"
#include "tests/unit/checkpoint/sample.h"

namespace muster::checkpoint {
namespace {

namespace fs = std::filesystem;

std::string GivenStore() {
  const char* given = getenv("MUSTER_TEST_STORE");
  return given != nullptr ? given : "";
}

// Shows another client the same store.
class Borrowed final : public Store {
 public:
  explicit Borrowed(Store& store) : store_(store) {}
  Status MakeFolder(const std::string& path) override { return store_.MakeFolder(path); }
  Status SyncFolder(const std::string& path) override { return store_.SyncFolder(path); }
  Result<std::vector<std::string>> List(const std::string& path) override {
    return store_.List(path);
  }
  Result<std::unique_ptr<StoreFile>> Create(const std::string& path) override {
    return store_.Create(path);
  }
  Status Link(const std::string& from, const std::string& to) override {
    return store_.Link(from, to);
  }
  Result<std::size_t> Read(const std::string& path, std::uint64_t offset,
                           std::span<std::byte> into) override {
    return store_.Read(path, offset, into);
  }
  Result<std::uint64_t> Size(const std::string& path) override { return store_.Size(path); }
  Status Unlink(const std::string& path) override { return store_.Unlink(path); }
  Status RemoveFolder(const std::string& path) override { return store_.RemoveFolder(path); }

 private:
  Store& store_;
};

class StoreConformance : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "faulty") {
      store_ = std::make_unique<FaultyStore>();
    } else {
      where_ = GivenStore();
      if (GetParam() == "posix") {
        std::string pattern = (fs::temp_directory_path() / "muster-store-XXXXXX").string();
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        where_ = own_ = pattern;
      }
      auto opened = OpenAnyStore(where_);
      ASSERT_TRUE(opened.ok()) << opened.status().message();
      store_ = *std::move(opened);
    }
    top_ = "t" + std::to_string(*FreshNonce());
    Fine(store_->MakeFolder(top_));
  }
  void TearDown() override {
    store_.reset();
    if (!own_.empty()) fs::remove_all(own_);
  }

  std::string At(const std::string& name) const { return top_ + "/" + name; }

  std::unique_ptr<Store> AnotherClient() {
    if (GetParam() == "faulty") return std::make_unique<Borrowed>(*store_);
    auto opened = OpenAnyStore(where_);
    EXPECT_TRUE(opened.ok()) << opened.status().message();
    return *std::move(opened);
  }

  static void Fine(const Status& status) { EXPECT_TRUE(status.ok()) << status.message(); }
  static void Is(Code code, const Status& status) {
    EXPECT_EQ(status.code(), code) << CodeName(status.code()) << ": " << status.message();
  }

  void Put(const std::string& name, std::string_view text) {
    Fine(WriteWhole(*store_, At(name), text));
  }
  std::string Get(Store& store, const std::string& name) {
    auto text = ReadWhole(store, At(name), 1U << 20U);
    EXPECT_TRUE(text.ok()) << text.status().message();
    return text.ok() ? *text : "";
  }
  std::string Get(const std::string& name) { return Get(*store_, name); }

  std::vector<std::string> Names(const std::string& name) {
    auto names = store_->List(name.empty() ? top_ : At(name));
    EXPECT_TRUE(names.ok()) << names.status().message();
    if (!names.ok()) return {};
    std::sort(names->begin(), names->end());
    return *names;
  }

  std::string where_, own_, top_;
  std::unique_ptr<Store> store_;
};

std::vector<std::byte> Noise(std::size_t size, std::uint64_t seed) {
  std::vector<std::byte> bytes(size);
  std::uint64_t x = seed * 2 + 1;
  for (std::byte& byte : bytes) {
    x = x * 6364136223846793005U + 1442695040888963407U;
    byte = static_cast<std::byte>(x >> 56U);
  }
  return bytes;
}

TEST_P(StoreConformance, AFileHasItsBytesAndSizeOnceItIsClosed) {
  for (const std::size_t size :
       {std::size_t{0}, std::size_t{1}, std::size_t{4096}, (std::size_t{3} << 20U) + 5}) {
    const std::string path = At("f" + std::to_string(size));
    const auto bytes = Noise(size, size);
    auto file = store_->Create(path);
    ASSERT_TRUE(file.ok()) << file.status().message();
    Fine((*file)->WriteAt(0, bytes));
    Fine((*file)->SyncAndClose());
    const auto there = store_->Size(path);
    ASSERT_TRUE(there.ok()) << there.status().message();
    EXPECT_EQ(*there, size);
    std::vector<std::byte> back(size + 10);
    const auto read = store_->Read(path, 0, back);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(*read, size);
    back.resize(size);
    EXPECT_TRUE(back == bytes);
  }
}

TEST_P(StoreConformance, PiecesMayBeWrittenInAnyOrder) {
  const auto bytes = Noise(2'500'000, 3);
  const std::span<const std::byte> all(bytes);
  auto file = store_->Create(At("f"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  Fine((*file)->WriteAt(1'700'001, all.subspan(1'700'001)));
  Fine((*file)->WriteAt(0, all.first(100)));
  Fine((*file)->WriteAt(100, all.subspan(100, 1'699'901)));
  Fine((*file)->SyncAndClose());
  std::vector<std::byte> back(bytes.size());
  const auto read = store_->Read(At("f"), 0, back);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_TRUE(back == bytes);
}

// More than an NFS store sends before it commits.
TEST_P(StoreConformance, ALargeFileReadsBackWholeAndFromTheMiddle) {
  const auto bytes = Noise((std::size_t{40} << 20U) + 77, 5);
  auto file = store_->Create(At("large"));
  ASSERT_TRUE(file.ok()) << file.status().message();
  constexpr std::size_t kSlice = 8U << 20U;
  for (std::size_t at = 0; at < bytes.size(); at += kSlice) {
    Fine((*file)->WriteAt(at, std::span(bytes).subspan(at, std::min(kSlice, bytes.size() - at))));
  }
  Fine((*file)->SyncAndClose());
  std::vector<std::byte> back(bytes.size());
  const auto read = store_->Read(At("large"), 0, back);
  ASSERT_TRUE(read.ok()) << read.status().message();
  EXPECT_EQ(*read, bytes.size());
  EXPECT_TRUE(back == bytes);
  std::vector<std::byte> part(1'234'567);
  const auto middle = store_->Read(At("large"), 30'000'001, part);
  ASSERT_TRUE(middle.ok()) << middle.status().message();
  EXPECT_TRUE(std::equal(part.begin(), part.end(), bytes.begin() + 30'000'001));
  Fine(store_->Unlink(At("large")));
}

TEST_P(StoreConformance, AReadIsShortOnlyAtTheEnd) {
  Put("f", "0123456789");
  std::vector<std::byte> back(8);
  EXPECT_EQ(*store_->Read(At("f"), 0, back), 8U);
  EXPECT_EQ(*store_->Read(At("f"), 6, back), 4U);
  EXPECT_EQ(*store_->Read(At("f"), 10, back), 0U);
  EXPECT_EQ(*store_->Read(At("f"), 1000, back), 0U);
}

TEST_P(StoreConformance, ANameIsTakenOnce) {
  Put("f", "first");
  Is(Code::kExists, store_->Create(At("f")).status());
  EXPECT_EQ(Get("f"), "first");
  Fine(store_->MakeFolder(At("d")));
  Is(Code::kExists, store_->Create(At("d")).status());
}

TEST_P(StoreConformance, ALinkIsASecondNameAndNeverReplacesOne) {
  Put("a", "A");
  Put("b", "B");
  Fine(store_->Link(At("a"), At("c")));
  EXPECT_EQ(Get("c"), "A");
  Is(Code::kExists, store_->Link(At("b"), At("c")));
  Is(Code::kExists, store_->Link(At("a"), At("c")));
  EXPECT_EQ(Get("c"), "A");
  Fine(store_->Unlink(At("a")));
  EXPECT_EQ(Get("c"), "A");
  EXPECT_EQ(Names(""), (std::vector<std::string>{"b", "c"}));
  Is(Code::kNotFound, store_->Link(At("a"), At("d")));
}

TEST_P(StoreConformance, AListHasAllNamesAndNoOthers) {
  EXPECT_TRUE(Names("").empty());
  std::vector<std::string> expected;
  for (int i = 0; i < 300; ++i) {
    const std::string name = "name-" + std::to_string(1000 + i) + std::string(60, 'x');
    Put(name, "x");
    if (i % 3 == 0) {
      Fine(store_->Unlink(At(name)));
    } else {
      expected.push_back(name);
    }
  }
  Fine(store_->MakeFolder(At("zfolder")));
  expected.emplace_back("zfolder");
  EXPECT_EQ(Names(""), expected);
}

TEST_P(StoreConformance, WhatIsNotThereIsNotFound) {
  std::vector<std::byte> into(4);
  Is(Code::kNotFound, store_->Read(At("no"), 0, into).status());
  Is(Code::kNotFound, store_->Size(At("no")).status());
  Is(Code::kNotFound, store_->List(At("no")).status());
  Is(Code::kNotFound, store_->SyncFolder(At("no")));
  Is(Code::kNotFound, store_->Unlink(At("no")));
  Is(Code::kNotFound, store_->RemoveFolder(At("no")));
  Is(Code::kNotFound, store_->Create(At("no/f")).status());
  Is(Code::kNotFound, store_->MakeFolder(At("no/d")));
  Is(Code::kNotFound, store_->Link(At("no"), At("f")));
  Put("f", "x");
  Is(Code::kNotFound, store_->Link(At("f"), At("no/f")));
}

TEST_P(StoreConformance, AFolderIsMadeOnceAndRemovedWhenEmpty) {
  Fine(store_->MakeFolder(At("d")));
  Put("d/f", "x");
  Fine(store_->MakeFolder(At("d")));
  Fine(store_->SyncFolder(At("d")));
  Fine(store_->SyncFolder(""));
  EXPECT_EQ(Names("d"), (std::vector<std::string>{"f"}));
  EXPECT_FALSE(store_->RemoveFolder(At("d")).ok());
  EXPECT_FALSE(store_->Unlink(At("d")).ok());
  EXPECT_FALSE(store_->RemoveFolder(At("d/f")).ok());
  EXPECT_EQ(Get("d/f"), "x");
  Fine(store_->Unlink(At("d/f")));
  Fine(store_->RemoveFolder(At("d")));
  Is(Code::kNotFound, store_->List(At("d")).status());
}

TEST_P(StoreConformance, AFileIsNoFolder) {
  Put("f", "x");
  EXPECT_FALSE(store_->MakeFolder(At("f")).ok());
  EXPECT_FALSE(store_->List(At("f")).ok());
  EXPECT_FALSE(store_->Create(At("f/g")).ok());
  EXPECT_EQ(Get("f"), "x");
}

TEST_P(StoreConformance, AFolderMadeAnewIsSeenAsItIs) {
  Fine(store_->MakeFolder(At("d")));
  Put("d/f", "old");
  const auto other = AnotherClient();
  Fine(other->Unlink(At("d/f")));
  Fine(other->RemoveFolder(At("d")));
  Fine(other->MakeFolder(At("d")));
  Fine(WriteWhole(*other, At("d/g"), "new"));
  Put("d/h", "mine");
  EXPECT_EQ(Get("d/g"), "new");
  EXPECT_EQ(Names("d"), (std::vector<std::string>{"g", "h"}));
}

TEST_P(StoreConformance, AnotherClientSeesWhatWasClosedAndWhatWasLinked) {
  const auto other = AnotherClient();
  EXPECT_FALSE(ReadWhole(*other, At("f"), 100).ok());
  Put("f", "text");
  EXPECT_EQ(Get(*other, "f"), "text");
  Fine(store_->Link(At("f"), At("g")));
  EXPECT_EQ(Get(*other, "g"), "text");
  Is(Code::kExists, other->Create(At("g")).status());
}

TEST_P(StoreConformance, FilesAreWrittenSideBySide) {
  const auto one = Noise(3'000'000, 1);
  const auto two = Noise(3'000'000, 2);
  auto first = store_->Create(At("one"));
  auto second = store_->Create(At("two"));
  ASSERT_TRUE(first.ok() && second.ok());
  for (std::size_t at = 0; at < one.size(); at += 1'000'000) {
    Fine((*first)->WriteAt(at, std::span(one).subspan(at, 1'000'000)));
    Fine((*second)->WriteAt(at, std::span(two).subspan(at, 1'000'000)));
  }
  Fine((*second)->SyncAndClose());
  Fine((*first)->SyncAndClose());
  std::vector<std::byte> back(one.size());
  ASSERT_TRUE(store_->Read(At("one"), 0, back).ok());
  EXPECT_TRUE(back == one);
  ASSERT_TRUE(store_->Read(At("two"), 0, back).ok());
  EXPECT_TRUE(back == two);
}

TEST_P(StoreConformance, AFileThatIsDroppedLeavesNothingButRubbish) {
  {
    auto file = store_->Create(At("f"));
    ASSERT_TRUE(file.ok());
    Fine((*file)->WriteAt(0, Noise(5'000'000, 1)));
  }
  Put("g", "after");
  EXPECT_EQ(Get("g"), "after");
  Fine(store_->Unlink(At("f")));
  EXPECT_EQ(Names(""), (std::vector<std::string>{"g"}));
}

TEST_P(StoreConformance, CarriesTheCommitProtocol) {
  // The sample's run lies at the top of a store: only where that is the test's own.
  if (GetParam() == "given") {
    const auto names = store_->List("");
    ASSERT_TRUE(names.ok());
    if (std::count(names->begin(), names->end(), kRun) > 0) GTEST_SKIP() << "it holds a run";
  }
  EXPECT_EQ(MustClaim(*store_, 1), 1U);
  const std::uint64_t generation = MustClaim(*store_, 2);
  EXPECT_EQ(generation, 2U);
  Is(Code::kAborted, SaveStep(*store_, 1, 5, 1));
  for (const std::uint64_t step : {10U, 20U, 30U}) {
    Fine(SaveStep(*store_, generation, step, 2, step));
    EXPECT_EQ(*LoadStep(*store_), step);
  }
  const auto other = AnotherClient();
  EXPECT_EQ(*LoadStep(*other), 30U);
  ASSERT_TRUE(LetGo(*other, kRun, {.generation = generation, .step = 30}, 2).ok());
  ExpectEveryCommitWhole(*store_);
  EXPECT_EQ(ListCommits(*store_, kRun)->size(), 2U);
}

// Two that both believe to be the head of one attempt, and one of the attempt before.
TEST_P(StoreConformance, OfTwoWritersOfOneGenerationOneCommitsAndAZombieNever) {
  const std::string run = "two-" + std::to_string(*FreshNonce());
  const auto other = AnotherClient();
  const auto tensors = SampleTensors();
  const auto save = [&](Store& store, std::uint64_t generation, std::uint64_t step,
                        std::uint64_t nonce) {
    const auto bytes = SampleBytes(nonce);
    return SaveWhole(store, run, {.generation = generation, .step = step, .nonce = nonce},
                     {.tensors = tensors, .bytes = bytes}, 1000);
  };
  EXPECT_EQ(*Claim(*other, run, 1, 1000), 1U);
  Fine(save(*other, 1, 5, 5));
  EXPECT_EQ(*Claim(*store_, run, 2, 1000), 2U);
  Is(Code::kAborted, save(*other, 1, 10, 1));
  Fine(save(*store_, 2, 10, 2));
  Is(Code::kAborted, save(*other, 2, 10, 3));
  for (Store* store : {store_.get(), other.get()}) {
    const auto loaded = LoadNewest(*store, run);
    ASSERT_TRUE(loaded.ok() && loaded->has_value()) << loaded.status().message();
    EXPECT_EQ((*loaded)->generation, 2U);
    EXPECT_EQ((*loaded)->step, 10U);
    EXPECT_TRUE((*loaded)->bytes == SampleBytes(2));
  }
}

std::vector<std::string> Kinds() {
  if (!GivenStore().empty()) return {"given"};
  return {"posix", "faulty"};
}

INSTANTIATE_TEST_SUITE_P(Of, StoreConformance, ::testing::ValuesIn(Kinds()),
                         [](const auto& kind) { return kind.param; });

}  // namespace
}  // namespace muster::checkpoint
