// The tokens that are valid, as their SHA-256: who carries which. Tokens are 256 random bits, so
// that a plain hash of one tells nothing about it; the text of a token is never kept or logged.
//
// Threading: immutable once made.
// Failure: INVALID_ARGUMENT with the number of the line and never its contents; NOT_FOUND for a
//   file that cannot be read.
// Bounds: 1 024 tokens, two a role and name; a file of 1 MiB.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/identity.h"

namespace engram::server {

class TokenTable {
 public:
  // Lines of "ROLE NAME SHA256"; "#" opens a comment.
  static absl::StatusOr<TokenTable> Parse(absl::string_view text);
  // Refuses a file that others than its owner may touch.
  static absl::StatusOr<TokenTable> Read(const std::string& path);

  // Null for a token that is not here. How long it takes does not depend on how much of a token is
  // right.
  const Identity* Find(absl::string_view token) const;
  size_t size() const { return rows_.size(); }

 private:
  struct Row {
    std::string sha256;  // lower-case hexadecimal
    Identity identity;
  };

  absl::Status AddLine(absl::string_view line);

  std::vector<Row> rows_;
};

}  // namespace engram::server
