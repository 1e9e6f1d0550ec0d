#include "server/sender_hash.h"

#include "absl/strings/numbers.h"
#include "storage/base/check.h"
#include "storage/sha256.h"

namespace engram::server {

uint64_t SenderHash(absl::string_view name) {
  if (name.empty()) return 0;
  uint64_t hash = 0;
  ENGRAM_CHECK(absl::SimpleHexAtoi(storage::Sha256Hex(name).substr(0, 16), &hash));
  return hash;
}

}  // namespace engram::server
