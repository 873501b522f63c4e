// The fuzz targets over their corpora, and over small changes of them: seconds, with any compiler.
// `./dev soak fuzz` gives each target ten minutes of libFuzzer.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "runtime/checkpoint/manifest_builder.h"
#include "runtime/checkpoint/record.h"
#include "runtime/checkpoint/safetensors.h"
#include "runtime/checkpoint/safetensors_header.h"
#include "tests/fuzz/targets.h"

namespace muster::checkpoint {
namespace {

using Target = void (*)(const std::uint8_t*, std::size_t);

std::vector<std::string> Corpus(const std::string& name) {
  std::vector<std::string> inputs;
  const std::filesystem::path folder = std::filesystem::path(FUZZ_CORPUS) / name;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

// Bits, numbers at their edges, cuts, insertions.
std::string Changed(std::string input, std::mt19937_64& random) {
  for (std::size_t times = 1 + random() % 4; times > 0 && !input.empty(); --times) {
    const std::size_t at = random() % input.size();
    switch (random() % 5) {
      case 0:
        input[at] = static_cast<char>(input[at] ^ (1 << random() % 8));
        break;
      case 1:
        input[at] = static_cast<char>(random());
        break;
      case 2: {
        const std::uint64_t edges[] = {0, 1, 7, 8, ~0ULL, 1ULL << 32U, 1ULL << 63U, input.size()};
        const std::uint64_t edge = edges[random() % std::size(edges)];
        for (std::size_t i = 0; i < 8 && at / 8 * 8 + i < input.size(); ++i) {
          input[at / 8 * 8 + i] = static_cast<char>(edge >> 8 * i);
        }
        break;
      }
      case 3:
        input.resize(at);
        break;
      default:
        input.insert(at, input.substr(random() % input.size(), random() % 16));
    }
  }
  return input;
}

void Try(const std::string& name, Target target, int changes) {
  const std::uint64_t seed = std::random_device()();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::cout << name << ": seed " << seed << "\n";
  std::mt19937_64 random(seed);
  const std::vector<std::string> corpus = Corpus(name);
  ASSERT_GE(corpus.size(), 3U);
  const auto run = [&](const std::string& input) {
    target(reinterpret_cast<const std::uint8_t*>(input.data()), input.size());
  };
  for (const std::string& input : corpus) run(input);
  for (int i = 0; i < changes; ++i) run(Changed(corpus[random() % corpus.size()], random));
}

TEST(Fuzz, Manifests) {
  Try("manifest", FuzzManifest, 20'000);
}
TEST(Fuzz, Records) {
  Try("record", FuzzRecord, 20'000);
}
TEST(Fuzz, SafetensorsHeaders) {
  Try("safetensors", FuzzSafetensors, 20'000);
}

// A corpus that every parser throws out at its first byte would try nothing.
TEST(Corpus, HoldsInputsOfEachKindThatAreTaken) {
  std::size_t manifests = 0, records = 0, headers = 0;
  for (const std::string& input : Corpus("manifest")) {
    const auto manifest = Manifest::Parse(std::string_view(input));
    manifests += manifest.ok() && CheckManifest(*manifest).ok() ? 1U : 0U;
  }
  for (const std::string& input : Corpus("record")) {
    records += ParseCommit(input).ok() || ParseClaim(input).ok() ? 1U : 0U;
  }
  for (const std::string& input : Corpus("safetensors")) {
    const std::string_view header = std::string_view(input).substr(2);
    const auto more =
        static_cast<unsigned char>(input[0]) + 256U * static_cast<unsigned char>(input[1]);
    headers += ParseShardHeader(header, header.size() + more).ok() ? 1U : 0U;
  }
  EXPECT_GE(manifests, 2U);
  EXPECT_GE(records, 2U);
  EXPECT_GE(headers, 2U);
}

// Run with --gtest_also_run_disabled_tests after the format changed.
TEST(Corpus, DISABLED_IsWrittenAnew) {
  const auto write = [](const std::string& name, std::string_view bytes) {
    std::ofstream(std::string(FUZZ_CORPUS) + "/" + name, std::ios::binary) << bytes;
  };
  const std::vector<std::uint64_t> zero = {0, 0}, middle = {2, 0}, half = {2, 6}, all = {4, 6};
  ManifestBuilder empty({});
  ManifestBuilder small({.generation = 1, .step = 2, .nonce = 3});
  small.AddMember("run", "r");
  small.AddMember("host_state", "{\"seed\":1}");
  small.AddFile("shard-00000-of-00002.safetensors", 4096 + 56, std::vector<std::uint32_t>{1});
  small.AddFile("shard-00001-of-00002.safetensors", (2U << 20U) + 1,
                std::vector<std::uint32_t>{1, 2, 3});
  small.AddTensor("b", "I64", {});
  small.AddBox({.file = 0, .begin = 4096, .region = {}});
  small.AddTensor("w", "F32", all);
  small.AddBox({.file = 0, .begin = 4104, .region = {.offset = zero, .shape = half}});
  small.AddBox({.file = 1, .begin = (1U << 20U) - 8, .region = {.offset = middle, .shape = half}});
  for (const auto& [name, builder] :
       {std::pair{"manifest/empty", &empty}, {"manifest/small", &small}}) {
    const auto made = builder->Finish();
    ASSERT_TRUE(made.ok()) << made.status().message();
    write(name, {reinterpret_cast<const char*>(made->bytes().data()), made->bytes().size()});
  }
  write("manifest/json", "{\"format\":\"muster\",\"major\":1}");
  write("record/claim", FormatClaim({.run = "r", .generation = 3, .nonce = 4, .time_ms = 5}));
  write("record/commit", FormatCommit({.run = "r",
                                       .save = {.generation = 1, .step = 2, .nonce = 3},
                                       .manifest_bytes = 99,
                                       .parent = "g0000000001-s000000000001.json"}));
  write("record/name", SaveName({.generation = 1, .step = 2, .nonce = 3}));
  const auto shard =
      LayoutShard(std::vector{WholeTensor("w", "F32", {2, 3}), WholeTensor("b", "BF16", {})},
                  {{"format", "pt"}});
  ASSERT_TRUE(shard.ok());
  write("safetensors/shard", std::string("\x1a\0", 2) + shard->header);
  const std::string plain = R"({"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}})";
  write("safetensors/plain",
        std::string("\0\0", 2) + static_cast<char>(plain.size()) + std::string(7, '\0') + plain);
  write("safetensors/long", std::string("\0\0", 2) + std::string(8, '\xff') + "{}");
}

}  // namespace
}  // namespace muster::checkpoint
