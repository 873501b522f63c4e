#include "runtime/base/tls_openssl.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <sys/stat.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>

#include "runtime/base/file_posix.h"

namespace muster {
namespace {

using Certificate = std::unique_ptr<X509, decltype(&X509_free)>;

Certificate Parse(const std::string& pem) {
  BIO* bio = BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()));
  Certificate certificate(PEM_read_bio_X509(bio, nullptr, nullptr, nullptr), &X509_free);
  BIO_free(bio);
  return certificate;
}

// 0, or the X509_V_ERR_* that a TLS peer would find.
int Verify(const std::string& ca, const std::string& certificate, int purpose) {
  const Certificate root = Parse(ca);
  const Certificate leaf = Parse(certificate);
  X509_STORE* store = X509_STORE_new();
  X509_STORE_add_cert(store, root.get());
  X509_STORE_CTX* context = X509_STORE_CTX_new();
  X509_STORE_CTX_init(context, store, leaf.get(), nullptr);
  X509_STORE_CTX_set_purpose(context, purpose);
  X509_verify_cert(context);
  const int error = X509_STORE_CTX_get_error(context);
  X509_STORE_CTX_free(context);
  X509_STORE_free(store);
  return error;
}

class Tls : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/muster-tls-test.XXXXXX";
    folder_ = mkdtemp(name);
    authority_ = *MakeAuthority("test", now_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  const Validity now_{.from = RealClock().Wall() - std::chrono::minutes(5)};
  std::string folder_;
  Authority authority_;
};

TEST_F(Tls, OnlyTheCoordinatorsCertificateIsGoodForAServer) {
  const Credentials coordinator = *Issue(authority_, CoordinatorIdentity(), now_);
  const Credentials node = *Issue(authority_, NodeIdentity("n0"), now_);
  EXPECT_EQ(Verify(authority_.certificate, coordinator.certificate, X509_PURPOSE_SSL_SERVER), 0);
  EXPECT_EQ(Verify(authority_.certificate, node.certificate, X509_PURPOSE_SSL_CLIENT), 0);
  EXPECT_EQ(Verify(authority_.certificate, node.certificate, X509_PURPOSE_SSL_SERVER),
            X509_V_ERR_INVALID_PURPOSE);
  EXPECT_EQ(Verify(authority_.certificate, coordinator.certificate, X509_PURPOSE_SSL_CLIENT),
            X509_V_ERR_INVALID_PURPOSE);
}

TEST_F(Tls, AnotherAuthoritysCertificateAndAnExpiredOneDoNotVerify) {
  const Authority other = *MakeAuthority("test", now_);
  const Credentials foreign = *Issue(other, NodeIdentity("n0"), now_);
  EXPECT_NE(Verify(authority_.certificate, foreign.certificate, X509_PURPOSE_SSL_CLIENT), 0);
  const Validity past{.from = now_.from - std::chrono::hours(48), .time = std::chrono::hours(24)};
  const Credentials expired = *Issue(authority_, NodeIdentity("n0"), past);
  EXPECT_EQ(Verify(authority_.certificate, expired.certificate, X509_PURPOSE_SSL_CLIENT),
            X509_V_ERR_CERT_HAS_EXPIRED);
}

TEST_F(Tls, SerialNumbersAndKeysAreNeverTheSame) {
  std::set<std::string> serials, keys;
  for (int i = 0; i < 20; ++i) {
    const Credentials one = *Issue(authority_, NodeIdentity("n0"), now_);
    BIGNUM* number =
        ASN1_INTEGER_to_BN(X509_get_serialNumber(Parse(one.certificate).get()), nullptr);
    char* text = BN_bn2hex(number);
    serials.insert(text);
    OPENSSL_free(text);
    BN_free(number);
    keys.insert(one.key);
  }
  EXPECT_EQ(serials.size(), 20U);
  EXPECT_EQ(keys.size(), 20U);
}

TEST_F(Tls, KeysAreFilesThatOnlyTheOwnerReads) {
  const Credentials node = *Issue(authority_, NodeIdentity("n0"), now_);
  ASSERT_TRUE(SaveAuthority(folder_ + "/ca", authority_).ok());
  ASSERT_TRUE(SaveCredentials(folder_ + "/ca", NodeCredentials("n0"), node).ok());
  for (const char* name : {"ca.key", "node-n0.key"}) {
    struct stat info {};
    ASSERT_EQ(stat((folder_ + "/ca/" + name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777U, 0600U) << name;
  }
  const auto loaded = LoadCredentials(folder_ + "/ca", NodeCredentials("n0"));
  ASSERT_TRUE(loaded.ok());
  EXPECT_EQ(loaded->key, node.key);
  EXPECT_EQ(loaded->certificate, node.certificate);
  EXPECT_EQ(loaded->ca, authority_.certificate);
}

TEST_F(Tls, AnAuthorityIsNeverReplaced) {
  ASSERT_TRUE(SaveAuthority(folder_, authority_).ok());
  EXPECT_EQ(SaveAuthority(folder_, *MakeAuthority("test", now_)).code(), Code::kExists);
  EXPECT_EQ(LoadAuthority(folder_)->key, authority_.key);
}

TEST_F(Tls, WhatIsMissingIsNamed) {
  const Status status = LoadCredentials(folder_, "user-7").status();
  EXPECT_EQ(status.code(), Code::kNotFound);
  EXPECT_NE(status.message().find("user-7"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace muster
