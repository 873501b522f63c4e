#include "examples/byte_gpt/digest_openssl.h"

#include <openssl/evp.h>

#include <vector>

#include "runtime/base/check.h"
#include "runtime/base/text.h"

namespace muster {

std::string Sha256(std::span<const std::byte> bytes) {
  std::vector<std::byte> digest(32);
  unsigned length = 0;
  CHECK(EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()),
                   &length, EVP_sha256(), nullptr) == 1);
  CHECK(length == digest.size());
  return ToHex(digest);
}

}  // namespace muster
