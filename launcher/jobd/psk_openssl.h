// TLS 1.3 with an external pre-shared key: both sides prove that they hold the job's key, and no
// certificate is involved.
//
// A peer without the key never gets through the handshake: the server has no certificate to fall
// back to, the client accepts none.  Both sides ask Proven() all the same.  The loop's thread only.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>

#include "runtime/base/result.h"
#include "runtime/base/tls_openssl.h"

namespace muster {

class PskContext {
 public:
  // `key` has 32 bytes; `identity` names it, such as "job-7".
  static Result<std::unique_ptr<PskContext>> Make(const std::string& identity,
                                                  const std::string& key);

  // One side of one connection.  The caller owns it, and keeps this context for as long.
  SSL* NewServer();
  SSL* NewClient();

  // After the handshake: the other side had the key.
  static bool Proven(const SSL* session);

 private:
  struct FreeContext {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };
  using Context = std::unique_ptr<SSL_CTX, FreeContext>;

  PskContext(std::string identity, std::string key);
  bool Prepare(SSL_CTX* context);
  SSL_SESSION* NewSession(SSL* session) const;
  static const PskContext& Of(SSL* session);
  static int OnUse(SSL* session, const EVP_MD* digest, const unsigned char** identity,
                   std::size_t* size, SSL_SESSION** key);
  static int OnFind(SSL* session, const unsigned char* identity, std::size_t size,
                    SSL_SESSION** key);

  const std::string identity_, key_;
  Context server_, client_;
};

}  // namespace muster
