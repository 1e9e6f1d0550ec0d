#include "storage/sha256.h"

#include <openssl/evp.h>

#include "absl/strings/escaping.h"
#include "storage/base/check.h"

namespace engram::storage {
namespace {

std::string ToHex(const unsigned char* digest, unsigned int length) {
  return absl::BytesToHexString(absl::string_view(reinterpret_cast<const char*>(digest), length));
}

}  // namespace

std::string Sha256Hex(absl::string_view bytes) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  ENGRAM_CHECK(EVP_Digest(bytes.data(), bytes.size(), digest, &length, EVP_sha256(), nullptr) == 1);
  return ToHex(digest, length);
}

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  ENGRAM_CHECK(context_ != nullptr && EVP_DigestInit_ex(context_, EVP_sha256(), nullptr) == 1);
}

Sha256::~Sha256() { EVP_MD_CTX_free(context_); }

void Sha256::Update(absl::string_view bytes) {
  ENGRAM_CHECK(EVP_DigestUpdate(context_, bytes.data(), bytes.size()) == 1);
}

std::string Sha256::Hex() {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  ENGRAM_CHECK(EVP_DigestFinal_ex(context_, digest, &length) == 1);
  return ToHex(digest, length);
}

}  // namespace engram::storage
