#include "tests/fuzz/targets.h"

#include <algorithm>
#include <string>
#include <string_view>

#include "runtime/base/check.h"
#include "runtime/checkpoint/crc32c.h"
#include "runtime/checkpoint/manifest.h"
#include "runtime/checkpoint/manifest_json.h"
#include "runtime/checkpoint/pins.h"
#include "runtime/checkpoint/plan.h"
#include "runtime/checkpoint/record.h"
#include "runtime/checkpoint/safetensors_header.h"

namespace muster::checkpoint {
namespace {

std::string_view Text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

}  // namespace

// What Parse takes can be shown; what CheckManifest takes as well can be planned, divided, filled.
void FuzzManifest(const std::uint8_t* data, std::size_t size) {
  const auto manifest = Manifest::Parse(Text(data, size));
  if (!manifest.ok()) return;
  std::size_t shown = 0;
  WriteManifestJson(*manifest, "g1-s1", "", [&](std::string_view part) { shown += part.size(); });
  CHECK(shown > 0);
  auto wanted = WholeTensors(*manifest);
  CHECK(wanted.ok());
  const bool large = std::any_of(wanted->begin(), wanted->end(), [](const StagedTensor& tensor) {
    return BoxBytes(tensor) > (1U << 20U);
  });
  auto plan = LoadPlan::Make(*manifest, *std::move(wanted));
  CHECK(plan.ok() || plan.status().message().find("tensor \"") != std::string::npos);
  CHECK(!CheckManifest(*manifest).ok() || plan.ok());
  if (!plan.ok() || manifest->blocks() > 64 || large) return;
  std::vector<std::vector<std::byte>> memory;
  std::vector<std::byte*> into;
  for (const StagedTensor& tensor : plan->wanted()) {
    into.push_back(memory.emplace_back(BoxBytes(tensor)).data());
  }
  const BlockSet wants[] = {plan->blocks(), plan->blocks()};
  std::uint64_t blocks = 0;
  for (const ReadTurn& turn : DivideReads(*manifest, wants, 3)) {
    const std::uint64_t begin = turn.first * kBlock;
    const std::uint64_t left = manifest->file(turn.file).size - begin;
    const std::vector<std::byte> file(std::min(turn.blocks * kBlock, left));
    plan->Scatter(turn.file, begin, file, into);
    blocks += turn.blocks;
  }
  CHECK(blocks == plan->blocks().size());
}

// The CRC would keep a fuzzer out: the same bytes are tried with one that holds, too.
void FuzzRecord(const std::uint8_t* data, std::size_t size) {
  const std::string text(Text(data, size));
  const std::string line = text.substr(0, text.find('\n')) + "\n";
  for (const std::string& record : {text, line + "crc32c " + CrcText(Crc32c(line)) + "\n"}) {
    if (const auto commit = ParseCommit(record); commit.ok()) {
      const auto again = ParseCommit(FormatCommit(*commit));
      CHECK(again.ok() && *again == *commit);
    }
    if (const auto claim = ParseClaim(record); claim.ok()) {
      const auto again = ParseClaim(FormatClaim(*claim));
      CHECK(again.ok() && *again == *claim);
    }
  }
  if (const auto save = ParseSaveName(text)) CHECK(ParseSaveName(SaveName(*save)) == save);
  if (const auto commit = ParseCommitName(text)) {
    CHECK(ParseCommitName(CommitName(*commit)) == commit);
  }
  if (const auto pin = ParsePinName(text)) CHECK(ParsePinName(PinFileName(*pin)) == pin);
  static_cast<void>(ParseTemporaryName(text));
  static_cast<void>(CheckRunName(text));
}

// The first two bytes say how much longer the file is than its header.
void FuzzSafetensors(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return;
  const std::uint64_t more = data[0] + 256U * data[1];
  const auto header = ParseShardHeader(Text(data + 2, size - 2), size - 2 + more);
  if (!header.ok()) return;
  std::uint64_t at = header->bytes;
  for (const HeaderTensor& tensor : header->tensors) {
    CHECK(tensor.begin == at);
    at = tensor.end;
  }
  CHECK(at == size - 2 + more);
}

}  // namespace muster::checkpoint
