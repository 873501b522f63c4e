#include "runtime/base/tls_openssl.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <memory>

#include "runtime/base/file_posix.h"

namespace muster {
namespace {

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* it) const {
    kFree(it);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Freer<X509_free>>;
using Bio = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using Number = std::unique_ptr<BIGNUM, Freer<BN_free>>;
using Extension = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;

Status Failed(const std::string& doing) {
  char text[256] = "unknown";
  if (const unsigned long error = ERR_get_error(); error != 0) {
    ERR_error_string_n(error, text, sizeof text);
  }
  ERR_clear_error();
  return Status(Code::kInternal, doing + ": OpenSSL: " + text);
}

std::string Text(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<std::size_t>(size));
}

Result<std::string> ToPem(X509* certificate) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_X509(bio.get(), certificate) != 1) return Failed("writing a certificate");
  return Text(bio.get());
}

Result<std::string> ToPem(EVP_PKEY* key) {
  const Bio bio(BIO_new(BIO_s_mem()));
  if (PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return Failed("writing a key");
  }
  return Text(bio.get());
}

Bio Reader(const std::string& text) {
  return Bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

Status SetSerial(X509* certificate) {
  const Number number(BN_new());
  // 159 bits: positive in 20 bytes, as RFC 5280 asks.
  if (BN_rand(number.get(), 159, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) != 1 ||
      BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) == nullptr) {
    return Failed("drawing a serial number");
  }
  return {};
}

Status SetTimes(X509* certificate, const Validity& validity) {
  const std::time_t from = std::chrono::system_clock::to_time_t(
      std::chrono::time_point_cast<std::chrono::system_clock::duration>(validity.from));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(validity.time).count();
  if (ASN1_TIME_set(X509_getm_notBefore(certificate), from) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(certificate), from + seconds) == nullptr) {
    return Failed("setting a validity");
  }
  return {};
}

Status SetName(X509* certificate, const std::string& name) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(name.data());
  // A common name has at most 64 bytes; it is for people, the URI decides.
  const int size = static_cast<int>(std::min<std::size_t>(name.size(), 64));
  if (X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8, bytes,
                                 size, -1, 0) != 1) {
    return Failed("naming a certificate");
  }
  return {};
}

Status AddExtension(X509* certificate, X509* issuer, int nid, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509V3_set_ctx_nodb(&context);
  const Extension extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value.c_str()));
  if (!extension || X509_add_ext(certificate, extension.get(), -1) != 1) {
    return Failed("adding '" + value + "' to a certificate");
  }
  return {};
}

struct Draft {
  Certificate certificate;
  Key key;
};

Result<Draft> Begin(const std::string& name, const Validity& validity) {
  Draft draft{.certificate = Certificate(X509_new()), .key = Key(EVP_EC_gen("P-256"))};
  if (!draft.certificate || !draft.key) return Failed("making a key");
  if (X509_set_version(draft.certificate.get(), X509_VERSION_3) != 1 ||
      X509_set_pubkey(draft.certificate.get(), draft.key.get()) != 1) {
    return Failed("making a certificate");
  }
  RETURN_IF_ERROR(SetSerial(draft.certificate.get()));
  RETURN_IF_ERROR(SetTimes(draft.certificate.get(), validity));
  RETURN_IF_ERROR(SetName(draft.certificate.get(), name));
  return draft;
}

Status Sign(X509* certificate, EVP_PKEY* key) {
  if (X509_sign(certificate, key, EVP_sha256()) == 0) return Failed("signing a certificate");
  return {};
}

std::string CommonName(const Identity& identity) {
  switch (identity.kind) {
    case Identity::Kind::kNode:
      return identity.node;
    case Identity::Kind::kUser:
      return identity.user;
    default:
      return "coordinator";
  }
}

}  // namespace

Result<Authority> MakeAuthority(const std::string& cluster, const Validity& validity) {
  auto draft = Begin("muster CA " + cluster, validity);
  if (!draft.ok()) return std::move(draft).status();
  X509* it = draft->certificate.get();
  if (X509_set_issuer_name(it, X509_get_subject_name(it)) != 1) return Failed("naming an issuer");
  RETURN_IF_ERROR(AddExtension(it, it, NID_basic_constraints, "critical,CA:TRUE,pathlen:0"));
  RETURN_IF_ERROR(AddExtension(it, it, NID_key_usage, "critical,keyCertSign"));
  RETURN_IF_ERROR(AddExtension(it, it, NID_subject_key_identifier, "hash"));
  RETURN_IF_ERROR(Sign(it, draft->key.get()));
  auto certificate = ToPem(it);
  auto key = ToPem(draft->key.get());
  if (!certificate.ok()) return std::move(certificate).status();
  if (!key.ok()) return std::move(key).status();
  return Authority{.certificate = *std::move(certificate), .key = *std::move(key)};
}

Result<Credentials> Issue(const Authority& authority, const Identity& identity,
                          const Validity& validity) {
  auto uri = IdentityUri(identity);
  if (!uri.ok()) return std::move(uri).status();
  const Certificate issuer(
      PEM_read_bio_X509(Reader(authority.certificate).get(), nullptr, nullptr, nullptr));
  const Key issuer_key(
      PEM_read_bio_PrivateKey(Reader(authority.key).get(), nullptr, nullptr, nullptr));
  if (!issuer || !issuer_key) return Failed("reading the authority");
  auto draft = Begin(CommonName(identity), validity);
  if (!draft.ok()) return std::move(draft).status();
  X509* it = draft->certificate.get();
  if (X509_set_issuer_name(it, X509_get_subject_name(issuer.get())) != 1) {
    return Failed("naming an issuer");
  }
  const bool server = identity.kind == Identity::Kind::kCoordinator;
  RETURN_IF_ERROR(
      AddExtension(it, issuer.get(), NID_subject_alt_name,
                   server ? "URI:" + *uri + ",DNS:" + kCoordinatorTlsName : "URI:" + *uri));
  RETURN_IF_ERROR(AddExtension(it, issuer.get(), NID_basic_constraints, "critical,CA:FALSE"));
  RETURN_IF_ERROR(AddExtension(it, issuer.get(), NID_key_usage, "critical,digitalSignature"));
  RETURN_IF_ERROR(
      AddExtension(it, issuer.get(), NID_ext_key_usage, server ? "serverAuth" : "clientAuth"));
  RETURN_IF_ERROR(AddExtension(it, issuer.get(), NID_authority_key_identifier, "keyid"));
  RETURN_IF_ERROR(Sign(it, issuer_key.get()));
  auto certificate = ToPem(it);
  auto key = ToPem(draft->key.get());
  if (!certificate.ok()) return std::move(certificate).status();
  if (!key.ok()) return std::move(key).status();
  return Credentials{
      .ca = authority.certificate, .certificate = *std::move(certificate), .key = *std::move(key)};
}

Status SaveAuthority(const std::string& folder, const Authority& authority) {
  RETURN_IF_ERROR(MakeFolders(folder));
  if (ReadFile(folder + "/ca.key").status().code() != Code::kNotFound) {
    return Status(Code::kExists, folder + " has an authority already; it is not replaced");
  }
  RETURN_IF_ERROR(WriteFileAtomically(folder + "/ca.pem", authority.certificate));
  return WriteFileAtomically(folder + "/ca.key", authority.key);
}

Result<Authority> LoadAuthority(const std::string& folder) {
  auto certificate = ReadFile(folder + "/ca.pem");
  if (!certificate.ok()) return std::move(certificate).status();
  auto key = ReadFile(folder + "/ca.key");
  if (!key.ok()) return std::move(key).status();
  return Authority{.certificate = *std::move(certificate), .key = *std::move(key)};
}

Status SaveCredentials(const std::string& folder, const std::string& name,
                       const Credentials& credentials) {
  RETURN_IF_ERROR(MakeFolders(folder));
  const auto there = ReadFile(folder + "/ca.pem");
  if (!there.ok() || *there != credentials.ca) {
    RETURN_IF_ERROR(WriteFileAtomically(folder + "/ca.pem", credentials.ca));
  }
  RETURN_IF_ERROR(WriteFileAtomically(folder + "/" + name + ".pem", credentials.certificate));
  return WriteFileAtomically(folder + "/" + name + ".key", credentials.key);
}

Result<Credentials> LoadCredentials(const std::string& folder, const std::string& name) {
  Credentials credentials;
  const std::pair<std::string, std::string*> files[] = {
      {folder + "/ca.pem", &credentials.ca},
      {folder + "/" + name + ".pem", &credentials.certificate},
      {folder + "/" + name + ".key", &credentials.key}};
  for (const auto& [path, text] : files) {
    auto read = ReadFile(path);
    if (!read.ok()) return std::move(read).status().While("reading the certificate of " + name);
    *text = *std::move(read);
  }
  return credentials;
}

std::string RandomBytes(std::size_t size) {
  std::string bytes(size, '\0');
  CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(size)) == 1);
  return bytes;
}

}  // namespace muster
