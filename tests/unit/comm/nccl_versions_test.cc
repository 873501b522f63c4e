#include "runtime/comm/nccl_versions.h"

#include <gtest/gtest.h>

namespace muster {
namespace {

// What a library of this version has, less `missing`.
std::vector<NcclSymbol> SymbolsOf(int version, const std::string& missing = "") {
  std::vector<NcclSymbol> symbols;
  NcclApi api;
  ForEachNcclSymbol(api, [&](const char* name, int since, const char* purpose, auto&) {
    symbols.push_back({.name = name,
                       .since = since,
                       .purpose = purpose == nullptr ? "" : purpose,
                       .found = since <= version && name != missing});
  });
  return symbols;
}

bool Says(const Status& status, const std::string& words) {
  return status.message().find(words) != std::string::npos;
}

TEST(NcclVersions, AreWrittenAsNvidiaWritesThem) {
  EXPECT_EQ(NcclVersionText(22809), "2.28.9");
  EXPECT_EQ(NcclVersionText(23007), "2.30.7");
  EXPECT_EQ(NcclVersionText(2804), "2.8.4");
}

TEST(NcclVersions, EachHasWhatItsFunctionsAreFor) {
  struct Row {
    int version;
    bool own_memory, symmetric, shrink, revoke;
  };
  const Row rows[] = {{21805, false, false, false, false}, {21903, true, false, false, false},
                      {22602, true, false, false, false},  {22703, true, true, true, false},
                      {22807, true, true, true, true},     {23007, true, true, true, true}};
  for (const Row& row : rows) {
    const auto features = NegotiateNccl(row.version, SymbolsOf(row.version), "/lib/n.so");
    ASSERT_TRUE(features.ok()) << features.status().message();
    EXPECT_EQ(features->own_memory, row.own_memory) << row.version;
    EXPECT_EQ(features->symmetric_memory, row.symmetric) << row.version;
    EXPECT_EQ(features->shrink, row.shrink) << row.version;
    EXPECT_EQ(features->revoke, row.revoke) << row.version;
    EXPECT_EQ(features->notes.empty(), row.revoke) << row.version;
  }
}

TEST(NcclVersions, WhatIsLostIsNotedOnce) {
  const auto features = NegotiateNccl(22602, SymbolsOf(22602), "/lib/n.so");
  ASSERT_TRUE(features.ok());
  ASSERT_EQ(features->notes.size(), 3U);
  EXPECT_EQ(features->notes[0],
            "NCCL 2.26.2 (/lib/n.so) has no ncclCommWindowRegister (new in 2.27.3): no symmetric "
            "memory");
}

TEST(NcclVersions, ATooOldOneIsRefusedWithWhatWouldDo) {
  const Status status = NegotiateNccl(21505, SymbolsOf(21505), "/lib/n.so").status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_TRUE(Says(status, "found NCCL 2.15.5 (/lib/n.so), which is too old")) << status.message();
  EXPECT_TRUE(Says(status, "2.18.0 to 2.30 will do")) << status.message();
  EXPECT_TRUE(Says(status, "MUSTER_NCCL_LIBRARY")) << status.message();
}

TEST(NcclVersions, ANewerOneIsTakenWithANote) {
  const auto features = NegotiateNccl(23102, SymbolsOf(23102), "/lib/n.so");
  ASSERT_TRUE(features.ok());
  ASSERT_EQ(features->notes.size(), 1U);
  EXPECT_NE(features->notes[0].find("newer than what muster knows"), std::string::npos);
}

TEST(NcclVersions, ANeededFunctionThatIsMissingIsNamed) {
  const Status status =
      NegotiateNccl(22809, SymbolsOf(22809, "ncclCommAbort"), "/lib/n.so").status();
  EXPECT_EQ(status.code(), Code::kUnavailable);
  EXPECT_TRUE(Says(status, "which lacks ncclCommAbort;")) << status.message();
}

TEST(NcclVersions, EveryResultHasANameAndACode) {
  EXPECT_TRUE(NcclStatus("x", kNcclSuccess, "").ok());
  const Status remote = NcclStatus("ncclAllReduce", kNcclRemoteError, "a peer has gone");
  EXPECT_EQ(remote, Status(Code::kUnavailable, "ncclAllReduce: ncclRemoteError (a peer has gone)"));
  EXPECT_EQ(NcclStatus("x", kNcclInvalidUsage, "").code(), Code::kInvalid);
  EXPECT_EQ(NcclStatus("x", kNcclUnhandledCudaError, "").code(), Code::kInternal);
  EXPECT_EQ(NcclResultName(NcclResult{99}), "result 99");
  EXPECT_TRUE(NcclFatal(kNcclSystemError));
  EXPECT_FALSE(NcclFatal(kNcclInvalidArgument));
  EXPECT_FALSE(NcclFatal(kNcclInProgress));
}

}  // namespace
}  // namespace muster
