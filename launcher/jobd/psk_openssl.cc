#include "launcher/jobd/psk_openssl.h"

#include <string_view>

namespace muster {
namespace {

constexpr std::size_t kKeySize = 32;
// The binder of an external key is bound to a hash; this suite's is SHA-256, as the key asks.
constexpr const char* kSuite = "TLS_AES_128_GCM_SHA256";
constexpr unsigned char kSuiteId[] = {0x13, 0x01};

}  // namespace

PskContext::PskContext(std::string identity, std::string key)
    : identity_(std::move(identity)),
      key_(std::move(key)),
      server_(SSL_CTX_new(TLS_server_method())),
      client_(SSL_CTX_new(TLS_client_method())) {}

Result<std::unique_ptr<PskContext>> PskContext::Make(const std::string& identity,
                                                     const std::string& key) {
  if (key.size() != kKeySize) {
    return Status(Code::kInvalid, "the job's key has " + std::to_string(key.size()) +
                                      " bytes, it must have " + std::to_string(kKeySize));
  }
  std::unique_ptr<PskContext> made(new PskContext(identity, key));
  if (!made->Prepare(made->server_.get()) || !made->Prepare(made->client_.get())) {
    return Status(Code::kInternal, "OpenSSL refuses TLS 1.3 with " + std::string(kSuite));
  }
  SSL_CTX_set_psk_find_session_callback(made->server_.get(), OnFind);
  SSL_CTX_set_psk_use_session_callback(made->client_.get(), OnUse);
  SSL_CTX_set_verify(made->client_.get(), SSL_VERIFY_PEER, nullptr);
  return made;
}

bool PskContext::Prepare(SSL_CTX* context) {
  if (context == nullptr) return false;
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  SSL_CTX_set_app_data(context, this);
  return SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) == 1 &&
         SSL_CTX_set_ciphersuites(context, kSuite) == 1 && SSL_CTX_set_num_tickets(context, 0) == 1;
}

SSL* PskContext::NewServer() {
  return SSL_new(server_.get());
}

SSL* PskContext::NewClient() {
  return SSL_new(client_.get());
}

bool PskContext::Proven(const SSL* session) {
  return SSL_session_reused(session) == 1;
}

const PskContext& PskContext::Of(SSL* session) {
  return *static_cast<const PskContext*>(SSL_CTX_get_app_data(SSL_get_SSL_CTX(session)));
}

SSL_SESSION* PskContext::NewSession(SSL* session) const {
  SSL_SESSION* made = SSL_SESSION_new();
  const SSL_CIPHER* cipher = SSL_CIPHER_find(session, kSuiteId);
  CHECK(made != nullptr && cipher != nullptr);
  CHECK(SSL_SESSION_set1_master_key(made, reinterpret_cast<const unsigned char*>(key_.data()),
                                    key_.size()) == 1);
  CHECK(SSL_SESSION_set_cipher(made, cipher) == 1);
  CHECK(SSL_SESSION_set_protocol_version(made, TLS1_3_VERSION) == 1);
  return made;
}

int PskContext::OnUse(SSL* session, const EVP_MD* digest, const unsigned char** identity,
                      std::size_t* size, SSL_SESSION** key) {
  const PskContext& context = Of(session);
  SSL_SESSION* made = context.NewSession(session);
  *identity = nullptr;
  *size = 0;
  *key = nullptr;
  // After a HelloRetryRequest the hash is settled, and may be another one than the key's.
  if (digest != nullptr &&
      SSL_CIPHER_get_handshake_digest(SSL_SESSION_get0_cipher(made)) != digest) {
    SSL_SESSION_free(made);
    return 1;
  }
  *identity = reinterpret_cast<const unsigned char*>(context.identity_.data());
  *size = context.identity_.size();
  *key = made;
  return 1;
}

int PskContext::OnFind(SSL* session, const unsigned char* identity, std::size_t size,
                       SSL_SESSION** key) {
  const PskContext& context = Of(session);
  const std::string_view asked(reinterpret_cast<const char*>(identity), size);
  *key = asked == context.identity_ ? context.NewSession(session) : nullptr;
  return 1;
}

}  // namespace muster
