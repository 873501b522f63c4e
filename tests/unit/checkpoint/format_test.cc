// Boxes, shares, names and safetensors headers: values in, values out.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <random>

#include "runtime/checkpoint/box.h"
#include "runtime/checkpoint/layout.h"
#include "runtime/checkpoint/manifest_builder.h"
#include "runtime/checkpoint/manifest_json.h"
#include "runtime/checkpoint/safetensors.h"

namespace muster::checkpoint {
namespace {

using Shape = std::vector<std::uint64_t>;

StagedTensor Box(const Shape& offset, const Shape& shape, const Shape& global = {4, 6}) {
  return {.name = "w", .dtype = "F32", .global_shape = global, .offset = offset, .shape = shape};
}

void ExpectRefused(const std::vector<StagedTensor>& boxes, const std::string& text) {
  const Status status = CheckTiling(boxes);
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_NE(status.message().find("tensor \"w\""), std::string::npos) << status.message();
  EXPECT_NE(status.message().find(text), std::string::npos) << status.message();
}

TEST(Tiling, AcceptsWhatCoversEachElementOnce) {
  EXPECT_TRUE(CheckTiling(std::vector{Box({0, 0}, {4, 6})}).ok());
  EXPECT_TRUE(CheckTiling(std::vector{Box({2, 0}, {2, 6}), Box({0, 0}, {2, 6})}).ok());
  EXPECT_TRUE(CheckTiling(std::vector{Box({0, 0}, {4, 2}), Box({0, 2}, {1, 4}), Box({1, 2}, {3, 4}),
                                      Box({0, 0}, {0, 6})})
                  .ok());
  EXPECT_TRUE(CheckTiling(std::vector{Box({}, {}, {})}).ok());
  EXPECT_TRUE(CheckTiling(std::vector{Box({0, 0}, {0, 3}, {0, 3})}).ok());
}

TEST(Tiling, RefusesAHoleAnOverlapAndWhatReachesOutside) {
  ExpectRefused({Box({0, 0}, {4, 5})}, "hold 20 of the 24 elements");
  ExpectRefused({Box({0, 0}, {3, 6}), Box({2, 0}, {2, 6})}, "overlap");
  // As many elements as due: only looking at pairs tells.
  ExpectRefused({Box({0, 0}, {2, 6}), Box({1, 0}, {2, 6})}, "overlap");
  ExpectRefused({Box({1, 0}, {4, 6})}, "outside");
  ExpectRefused({Box({UINT64_MAX, 0}, {2, 6})}, "outside");
  ExpectRefused({Box({0}, {4})}, "dimensions");
  ExpectRefused({Box({}, {}, {}), Box({}, {}, {})}, "is saved by two ranks");
  ExpectRefused({Box({0, 0}, {4, 6}), Box({0, 0}, {4, 6})},
                "replicas, as under HSDP), each saves other rows of it");
  ExpectRefused({Box({0, 0}, {1, 1}, {1ULL << 40U, 1ULL << 40U})}, "too large");
  StagedTensor other = Box({2, 0}, {2, 6});
  other.dtype = "F16";
  ExpectRefused({Box({0, 0}, {2, 6}), other}, "one writer says F32");
}

TEST(Tiling, RefusesNamesAndDtypesThatNoReaderTakes) {
  StagedTensor box = Box({0, 0}, {4, 6});
  box.dtype = "F33";
  ExpectRefused({box}, "dtype \"F33\"");
  for (const char* name : {"", "__metadata__", "a\nb"}) {
    box = Box({0, 0}, {4, 6});
    box.name = name;
    EXPECT_EQ(CheckTiling(std::vector{box}).code(), Code::kInvalid) << name;
  }
}

// Cuts a box into pieces at random.
void Cut(const StagedTensor& box, std::mt19937_64& random, std::vector<StagedTensor>& into) {
  const std::size_t rank = box.shape.size();
  if (rank > 0 && random() % 4 != 0) {
    const std::size_t d = random() % rank;
    if (box.shape[d] > 1) {
      const std::uint64_t at = 1 + random() % (box.shape[d] - 1);
      StagedTensor low = box;
      StagedTensor high = box;
      low.shape[d] = at;
      high.offset[d] += at;
      high.shape[d] -= at;
      Cut(low, random, into);
      return Cut(high, random, into);
    }
  }
  into.push_back(box);
}

TEST(Boxes, AnyTilingPutTogetherInAnyPartsIsTheWhole) {
  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  std::size_t boxes_seen = 0;
  for (int round = 0; round < 300; ++round) {
    Shape shape;
    for (std::size_t rank = random() % 5; rank > 0; --rank) shape.push_back(1 + random() % 6);
    const StagedTensor whole = WholeTensor("w", random() % 2 != 0 ? "F32" : "U8", shape);
    const std::size_t item = *ItemBytes(whole.dtype);
    std::vector<std::byte> expected(BoxBytes(whole));
    for (std::byte& byte : expected) byte = static_cast<std::byte>(random());
    std::vector<StagedTensor> boxes;
    Cut(whole, random, boxes);
    boxes_seen += boxes.size();
    std::shuffle(boxes.begin(), boxes.end(), random);
    ASSERT_TRUE(CheckTiling(boxes).ok());

    std::vector<std::byte> built(expected.size(), std::byte{0});
    for (const StagedTensor& box : boxes) {
      // The box's own bytes, element by element.
      std::vector<std::byte> bytes;
      for (std::uint64_t n = 0; n < BoxBytes(box) / item; ++n) {
        std::uint64_t rest = n;
        std::uint64_t at = 0;
        std::uint64_t stride = 1;
        for (std::size_t d = shape.size(); d > 0; --d) {
          at += (box.offset[d - 1] + rest % box.shape[d - 1]) * stride;
          rest /= box.shape[d - 1];
          stride *= shape[d - 1];
        }
        for (std::size_t k = 0; k < item; ++k) bytes.push_back(expected[at * item + k]);
      }
      for (std::size_t from = 0; from < bytes.size();) {
        const std::size_t n = std::min<std::size_t>(1 + random() % 9, bytes.size() - from);
        CopyIntoWhole(box, from, std::span(bytes).subspan(from, n), built);
        from += n;
      }
    }
    ASSERT_TRUE(built == expected);
  }
  EXPECT_GT(boxes_seen, 600U);
}

TEST(Shares, OfAnyNumberOfNodesTileEveryTensorAndLieInOneRun) {
  const std::vector<StagedTensor> whole = {
      WholeTensor("a", "F32", {5, 3}), WholeTensor("b", "I64", {}), WholeTensor("c", "F16", {0, 2}),
      WholeTensor("d", "U8", {17}), WholeTensor("e", "F32", {1, 40})};
  for (std::uint32_t nodes = 1; nodes < 12; ++nodes) {
    std::map<std::string, std::vector<StagedTensor>> boxes;
    std::uint64_t at = 0;
    for (std::uint32_t node = 0; node < nodes; ++node) {
      const Share share = ShareOf(whole, node, nodes);
      EXPECT_EQ(TotalBytes(share.boxes), share.end - share.begin);
      if (share.end > share.begin) {
        EXPECT_EQ(share.begin, at);
        at = share.end;
      }
      for (const StagedTensor& box : share.boxes) boxes[box.name].push_back(box);
    }
    EXPECT_EQ(at, TotalBytes(whole));
    for (const StagedTensor& tensor : whole) {
      ASSERT_FALSE(boxes[tensor.name].empty());
      EXPECT_TRUE(CheckTiling(boxes[tensor.name]).ok()) << tensor.name << " on " << nodes;
    }
  }
}

TEST(Shares, AreEvenToARow) {
  const std::vector<StagedTensor> whole = {WholeTensor("a", "F32", {1000, 2})};
  for (std::uint32_t node = 0; node < 7; ++node) {
    const Share share = ShareOf(whole, node, 7);
    EXPECT_NEAR(static_cast<double>(share.end - share.begin), 8000.0 / 7, 8.0);
  }
}

// Reads a header as strictly as the safetensors crate does, sharing nothing with the writer.
void ExpectStrictlyReadable(const std::string& header, std::uint64_t file_size,
                            std::size_t tensors) {
  ASSERT_GE(header.size(), 8U);
  std::uint64_t length = 0;
  std::memcpy(&length, header.data(), 8);
  ASSERT_EQ(8 + length, header.size());
  EXPECT_EQ(header.size() % 4096, 0U);
  EXPECT_EQ(header[8], '{');
  const auto json = nlohmann::json::parse(header.substr(8));
  std::map<std::uint64_t, std::uint64_t> spans;
  std::size_t seen = 0;
  for (const auto& [name, value] : json.items()) {
    if (name == "__metadata__") {
      for (const auto& [key, text] : value.items()) EXPECT_TRUE(text.is_string()) << key;
      continue;
    }
    ++seen;
    const std::uint64_t begin = value["data_offsets"][0];
    const std::uint64_t end = value["data_offsets"][1];
    std::uint64_t bytes = *ItemBytes(value["dtype"].get<std::string>());
    EXPECT_EQ(begin % bytes, 0U) << name << " is not aligned";
    for (const std::uint64_t extent : value["shape"]) bytes *= extent;
    EXPECT_EQ(end - begin, bytes) << name;
    if (end > begin) spans[begin] = end;
  }
  EXPECT_EQ(seen, tensors);
  std::uint64_t at = 0;
  for (const auto& [begin, end] : spans) {
    EXPECT_EQ(begin, at) << "a hole or an overlap";
    at = end;
  }
  EXPECT_EQ(header.size() + at, file_size);
}

TEST(Safetensors, HeadersObeyTheFormat) {
  const std::vector<StagedTensor> tensors = {
      WholeTensor("b", "U8", {3}),   WholeTensor("a", "U8", {5}), WholeTensor("z", "F64", {2, 2}),
      WholeTensor("h", "BF16", {7}), WholeTensor("s", "F32", {}), WholeTensor("n", "F32", {0})};
  const auto layout = LayoutShard(tensors, {{"format", "pt"}});
  ASSERT_TRUE(layout.ok()) << layout.status().message();
  ExpectStrictlyReadable(layout->header, layout->size, tensors.size());
  EXPECT_EQ(layout->order, (std::vector<std::size_t>{2, 4, 5, 3, 0, 1}));  // Else as given.
  EXPECT_EQ(layout->begins[2], layout->header.size());
}

TEST(Safetensors, SeveralBoxesOfATensorHaveNamesOfTheirOwn) {
  const std::vector<StagedTensor> tensors = {Box({0, 0}, {1, 6}), Box({3, 0}, {1, 6}),
                                             Box({1, 0}, {2, 6})};
  const auto layout = LayoutShard(tensors, {});
  ASSERT_TRUE(layout.ok());
  ExpectStrictlyReadable(layout->header, layout->size, 3);
  const auto json = nlohmann::json::parse(layout->header.substr(8));
  EXPECT_TRUE(json.contains("w") && json.contains("w#1") && json.contains("w#2"));
  const auto shards =
      nlohmann::json::parse(json["__metadata__"]["muster.shards"].get<std::string>());
  EXPECT_EQ(shards["w#1"]["name"], "w");
  EXPECT_EQ(shards["w#1"]["offset"], (Shape{3, 0}));
}

TEST(Safetensors, ANameThatIsNotUtf8IsAnErrorAndNoException) {
  const std::vector<StagedTensor> tensors = {WholeTensor("\xff\xfe", "U8", {1})};
  EXPECT_EQ(LayoutShard(tensors, {}).status().code(), Code::kInvalid);
}

TEST(Layout, NamesSortAsGenerationThenStepAndReadBack) {
  const std::vector<CommitId> order = {{1, 5}, {1, 100}, {2, 1}, {10, 0}, {10, 999999999999}};
  for (std::size_t i = 0; i < order.size(); ++i) {
    EXPECT_EQ(ParseCommitName(CommitName(order[i])), order[i]);
    if (i > 0) {
      EXPECT_LT(CommitName(order[i - 1]), CommitName(order[i]));
      EXPECT_LT(order[i - 1], order[i]);
    }
  }
  const SaveId save{.generation = 3, .step = 12, .nonce = 0x00ff00ff00ff00ffU};
  EXPECT_EQ(ParseSaveName(SaveName(save)), save);
  EXPECT_EQ(ParseTemporaryName(CommitTemporaryName(save, 0)), save);
  EXPECT_EQ(ParseTemporaryName(ClaimTemporaryName(3, 9)), (SaveId{.generation = 3, .nonce = 9}));
  EXPECT_EQ(ParseClaimName(ClaimName(12345678901)), 12345678901U);
}

TEST(Layout, ForeignNamesAreNotOurs) {
  for (const char* name : {"", "x", "g1", "g.json", "gx-s1.json", "g1-s1.json.tmp", "latest",
                           ".nfs0001", "g1-s1-s1.json", "g-1-s1.json", "s1-g1.json"}) {
    EXPECT_FALSE(ParseCommitName(name).has_value()) << name;
    EXPECT_FALSE(ParseSaveName(name).has_value()) << name;
    EXPECT_FALSE(ParseTemporaryName(name).has_value()) << name;
  }
  EXPECT_FALSE(ParseClaimName("g1-s1.json").has_value());
}

TEST(Layout, ARunsNameCannotLeaveTheStore) {
  for (const char* run : {"", ".", "..", "a/b", "../x", "/x", ".hidden", "-x", "a b", "a\n"}) {
    EXPECT_EQ(CheckRunName(run).code(), Code::kInvalid) << run;
  }
  EXPECT_FALSE(CheckRunName(std::string(101, 'a')).ok());
  EXPECT_TRUE(CheckRunName("0123456789abcdef0123456789abcdef").ok());
  EXPECT_TRUE(CheckRunName("My_run-2.1").ok());
}

ShardReport ReportOf(std::uint32_t node, std::uint32_t nodes, std::vector<StagedTensor> tensors) {
  return {.node = node,
          .nodes = nodes,
          .file = ShardName(node, nodes),
          .size = 4096 + TotalBytes(tensors),
          .crcs = {1},
          .tensors = tensors,
          .begins = std::vector<std::uint64_t>(tensors.size(), 4096)};
}

TEST(Manifest, NeedsOneReportOfEachNode) {
  const auto low = ReportOf(0, 2, {Box({0, 0}, {2, 6})});
  const auto high = ReportOf(1, 2, {Box({2, 0}, {2, 6})});
  EXPECT_TRUE(BuildManifest("r", {}, 2, {high, low}).ok());
  for (const std::vector<ShardReport>& reports :
       {std::vector{low}, std::vector{low, low}, std::vector{low, high, high},
        std::vector<ShardReport>{}}) {
    const auto built = BuildManifest("r", {}, 2, reports);
    EXPECT_EQ(built.status().code(), Code::kInvalid);
    EXPECT_NE(built.status().message().find("not exactly one from node"), std::string::npos);
  }
}

TEST(Manifest, NamesTheTensorThatTheShardsDoNotCover) {
  const auto built = BuildManifest(
      "r", {}, 2, {ReportOf(0, 2, {Box({0, 0}, {2, 6})}), ReportOf(1, 2, {Box({2, 0}, {1, 6})})});
  EXPECT_EQ(built.status().code(), Code::kInvalid);
  EXPECT_NE(built.status().message().find(
                "tensor \"w\": the shards hold 18 of the 24 elements of the global "
                "shape [4, 6]; nothing holds the box at [3, 0] of shape [1, 6]"),
            std::string::npos);
}

TEST(Manifest, ReadsBackAsItWasWritten) {
  const auto built =
      BuildManifest("r", {.generation = 2, .step = 3, .nonce = 4}, 2,
                    {ReportOf(1, 2, {Box({2, 0}, {2, 6})}), ReportOf(0, 2, {Box({0, 0}, {2, 6})})},
                    {.host_state = "{\"x\": 1.25e-7, \"text\": \"\\u00e4\"}", .topology = "{}"});
  ASSERT_TRUE(built.ok()) << built.status().message();
  const auto parsed = Manifest::Parse(std::string_view(
      reinterpret_cast<const char*>(built->bytes().data()), built->bytes().size()));
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  EXPECT_EQ(parsed->run(), "r");
  EXPECT_EQ(parsed->save(), (SaveId{.generation = 2, .step = 3, .nonce = 4}));
  EXPECT_EQ(parsed->Member(kMemberHostState), "{\"x\": 1.25e-7, \"text\": \"\\u00e4\"}");
  EXPECT_EQ(parsed->Member("nothing"), "");
  ASSERT_EQ(parsed->files(), 2U);
  EXPECT_EQ(parsed->file(1).name, ShardName(1, 2));
  EXPECT_EQ(parsed->file(1).first_block, 1U);
  ASSERT_EQ(parsed->tensors(), 1U);
  const ManifestTensor tensor = parsed->tensor(0);
  EXPECT_EQ(tensor.name(), "w");
  EXPECT_EQ(tensor.dtype(), "F32");
  ASSERT_EQ(tensor.boxes(), 2U);
  EXPECT_EQ(RegionText(tensor.box(1).region), "box at [2, 0] of shape [2, 6]");
  EXPECT_EQ(tensor.box(1).begin, 4096U);
  EXPECT_EQ(tensor.box(1).file, 1U);
}

TEST(Manifest, HasAJsonViewOfAllThatItSays) {
  const auto built = BuildManifest(
      "r", {.generation = 2, .step = 3, .nonce = 4}, 1, {ReportOf(0, 1, {Box({0, 0}, {4, 6})})},
      {.host_state = "{\"seed\":7}", .metadata = "{\"who\":\"\\\"me\\\"\"}"});
  ASSERT_TRUE(built.ok());
  std::string text;
  WriteManifestJson(*built, "g2-s3", "", [&](std::string_view part) { text += part; });
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["run"], "r");
  EXPECT_EQ(json["step"], 3);
  EXPECT_EQ(json["host_state"]["seed"], 7);
  EXPECT_EQ(json["metadata"]["who"], "\"me\"");
  EXPECT_EQ(json["files"][0]["crc32c"], "00000001");
  EXPECT_EQ(json["tensors"][0]["boxes"][0]["shape"], (Shape{4, 6}));
}

TEST(Manifest, HostStateIsAJsonObject) {
  EXPECT_TRUE(CheckJsonObject("", "x").ok());
  EXPECT_TRUE(CheckJsonObject("{\"a\":1}", "x").ok());
  for (const char* text : {"[]", "1", "{", "{\"a\":\"\xff\"}"}) {
    EXPECT_EQ(CheckJsonObject(text, "x").code(), Code::kInvalid) << text;
  }
}

}  // namespace
}  // namespace muster::checkpoint
