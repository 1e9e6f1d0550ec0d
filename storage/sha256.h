// SHA-256 in lower-case hex. The only use of OpenSSL in this room.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

struct evp_md_ctx_st;

namespace engram::storage {

std::string Sha256Hex(absl::string_view bytes);

// Of bytes that come in pieces.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void Update(absl::string_view bytes);
  // Ends the sum.
  std::string Hex();

 private:
  evp_md_ctx_st* const context_;
};

}  // namespace engram::storage
