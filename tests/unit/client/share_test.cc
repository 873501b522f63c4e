// What each rank writes, held against the C++ engine's own division and its proof of coverage.
#include "runtime/client/share.h"

#include <gtest/gtest.h>

#include <random>

#include "runtime/checkpoint/box.h"
#include "runtime/client/checkpoint_codec.h"

namespace muster {
namespace {

using checkpoint::StagedTensor;

struct Given {
  std::vector<StagedTensor> whole;  // By name.
  std::vector<muster_tensor> tensors;

  void Add(const std::string& dtype, const std::vector<std::uint64_t>& shape) {
    std::string name = "t";
    name += std::to_string(1000 + whole.size());
    whole.push_back(checkpoint::WholeTensor(name, dtype, shape));
  }
  void Point() {
    for (const StagedTensor& t : whole) {
      tensors.push_back({.name = t.name.c_str(),
                         .dtype = t.dtype.c_str(),
                         .ndim = static_cast<std::uint32_t>(t.shape.size()),
                         .shape = t.shape.data(),
                         .offset = nullptr,
                         .global_shape = nullptr,
                         .data = nullptr});
    }
  }
};

std::string Check(const std::vector<muster_tensor>& tensors) {
  std::vector<std::size_t> order(tensors.size());
  std::array<char, 1024> complaint{};
  const int fine = muster_check_tensors(tensors.data(), tensors.size(), order.data(),
                                        complaint.data(), complaint.size());
  EXPECT_EQ(fine != 0, complaint[0] == '\0');
  return complaint.data();
}

TEST(Share, IsThatOfTheEngineForAnyTensorsAndRanks) {
  std::mt19937_64 random(20);
  for (int round = 0; round < 300; ++round) {
    Given given;
    const std::size_t count = random() % 6;
    for (std::size_t i = 0; i < count; ++i) {
      std::vector<std::uint64_t> shape(random() % 4);
      for (std::uint64_t& extent : shape) extent = random() % 7;
      given.Add(i % 2 == 0 ? "F32" : "U8", shape);
    }
    given.Point();
    // Shuffled: the order in which a program names them must not matter.
    std::vector<muster_tensor> shuffled = given.tensors;
    std::shuffle(shuffled.begin(), shuffled.end(), random);
    std::vector<std::size_t> order(count);
    std::array<char, 1024> complaint{};
    ASSERT_TRUE(muster_check_tensors(shuffled.data(), count, order.data(), complaint.data(),
                                     complaint.size()));
    const auto ranks = static_cast<std::uint32_t>(1 + random() % 5);
    for (std::uint32_t rank = 0; rank < ranks; ++rank) {
      const auto share = checkpoint::ShareOf(given.whole, rank, ranks);
      std::vector<muster_piece> pieces(count);
      const std::size_t n =
          muster_share(shuffled.data(), count, order.data(), rank, ranks, pieces.data());
      ASSERT_EQ(n, share.boxes.size()) << round << " " << rank << "/" << ranks;
      for (std::size_t i = 0; i < n; ++i) {
        const StagedTensor& box = share.boxes[i];
        EXPECT_EQ(shuffled[pieces[i].tensor].name, box.name);
        EXPECT_EQ(pieces[i].bytes, checkpoint::BoxBytes(box));
        if (box.shape.empty()) continue;
        EXPECT_EQ(pieces[i].first, box.offset[0]);
        EXPECT_EQ(pieces[i].rows, box.shape[0]);
      }
    }
  }
}

TEST(Share, AnOwnBoxIsWrittenWholeByItsRank) {
  const std::uint64_t shape[] = {2, 3};
  const std::uint64_t offset[] = {4, 0};
  const std::uint64_t global[] = {8, 3};
  const muster_tensor tensor = {"w", "F64", 2, shape, offset, global, nullptr};
  const std::size_t order = 0;
  for (const std::uint32_t rank : {0U, 3U}) {
    muster_piece piece{};
    ASSERT_EQ(muster_share(&tensor, 1, &order, rank, 4, &piece), 1U);
    EXPECT_EQ(piece.first, 0U);
    EXPECT_EQ(piece.rows, 2U);
    EXPECT_EQ(piece.bytes, 48U);
  }
}

TEST(Share, SaysWhatIsWrongWithATensor) {
  const std::uint64_t shape[] = {4};
  const std::uint64_t offset[] = {5};
  const std::uint64_t global[] = {8};
  const std::uint64_t huge[] = {std::uint64_t{1} << 60};
  const muster_tensor good = {"w", "F32", 1, shape, nullptr, nullptr, nullptr};
  EXPECT_EQ(Check({good}), "");
  EXPECT_EQ(Check({good, good}), "two tensors have the name \"w\"");
  muster_tensor bad = good;
  bad.name = "";
  EXPECT_EQ(Check({good, bad}), "tensor 1 of 2 has no name");
  bad = good;
  bad.dtype = "float32";
  EXPECT_NE(Check({bad}).find("(dtype float32): its dtype is none of BF16, BOOL"),
            std::string::npos);
  bad = good;
  bad.shape = huge;
  EXPECT_NE(Check({bad}).find("too large"), std::string::npos);
  bad = good;
  bad.offset = offset;
  EXPECT_NE(Check({bad}).find("go together"), std::string::npos);
  bad.global_shape = global;
  EXPECT_NE(Check({bad}).find("does not lie inside"), std::string::npos);
  EXPECT_NE(Check({good, bad}), "");
  const std::uint64_t beside[] = {4};
  bad.offset = beside;
  EXPECT_EQ(Check({bad}), "");
  EXPECT_EQ(Check({bad, bad}), "");  // Two boxes of one tensor.
  EXPECT_EQ(Check({good, bad}), "two tensors have the name \"w\"");
  bad = good;
  bad.ndim = MUSTER_NDIM_MAX + 1;
  EXPECT_NE(Check({bad}).find("32 dimensions"), std::string::npos);
}

TEST(Share, KnowsTheDtypesOfTheEngine) {
  for (std::uint8_t code = 0; !checkpoint::DtypeName(code).empty(); ++code) {
    const std::string name(checkpoint::DtypeName(code));
    EXPECT_EQ(muster_item_bytes(name.c_str()), checkpoint::ItemBytes(name)) << name;
  }
  EXPECT_EQ(muster_item_bytes(nullptr), 0U);
}

}  // namespace
}  // namespace muster
