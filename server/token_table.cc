#include "server/token_table.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "server/names.h"
#include "storage/base/status_macros.h"
#include "storage/sha256.h"

namespace engram::server {
namespace {

constexpr size_t kTokensMax = 1024;
constexpr int kTokensAnIdentity = 2;
constexpr off_t kFileBytesMax = 1 << 20;
constexpr size_t kHexDigits = 64;
constexpr mode_t kOthers = 077;

absl::StatusOr<std::string> ReadPrivateFile(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat facts = {};
  if (file < 0 || fstat(file, &facts) != 0) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path, ": ", strerror(errno)));
  }
  const auto closer = absl::MakeCleanup([file] { close(file); });
  if (!S_ISREG(facts.st_mode) || facts.st_size > kFileBytesMax) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " must be a file of at most ", kFileBytesMax, " bytes"));
  }
  if ((facts.st_mode & kOthers) != 0) {
    return absl::InvalidArgumentError(absl::StrFormat(
        "%s must be its owner's alone (mode 0600), got mode %04o", path, facts.st_mode & 07777));
  }
  std::string text(static_cast<size_t>(facts.st_size), '\0');
  size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t got = read(file, &text[filled], text.size() - filled);
    if (got <= 0) return absl::NotFoundError(absl::StrCat("cannot read all of ", path));
    filled += static_cast<size_t>(got);
  }
  return text;
}

}  // namespace

absl::Status TokenTable::AddLine(absl::string_view line) {
  const std::vector<absl::string_view> words =
      absl::StrSplit(line, absl::ByAnyChar(" \t\r"), absl::SkipEmpty());
  if (words.empty()) return absl::OkStatus();
  if (words.size() != 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("expected \"ROLE NAME SHA256\", got ", words.size(), " words"));
  }
  const absl::optional<Role> role = RoleOf(words[0]);
  if (!role.has_value()) {
    return absl::InvalidArgumentError("the role must be reader, writer or admin");
  }
  if (!IsName(words[1])) return absl::InvalidArgumentError(absl::StrCat("the name ", kNameRule));
  Row row{absl::AsciiStrToLower(words[2]), {*role, std::string(words[1])}};
  if (row.sha256.size() != kHexDigits ||
      !std::all_of(row.sha256.begin(), row.sha256.end(), absl::ascii_isxdigit)) {
    return absl::InvalidArgumentError("the SHA-256 must be 64 hexadecimal digits");
  }
  int of_the_same = 0;
  for (const Row& other : rows_) {
    if (other.sha256 == row.sha256) return absl::InvalidArgumentError("a token that came before");
    of_the_same += other.identity.role == *role && other.identity.name == row.identity.name;
  }
  if (of_the_same == kTokensAnIdentity) {
    return absl::InvalidArgumentError(
        absl::StrCat(words[0], " ", words[1], " has two tokens already"));
  }
  if (rows_.size() == kTokensMax) {
    return absl::InvalidArgumentError(absl::StrCat("more than ", kTokensMax, " tokens"));
  }
  rows_.push_back(std::move(row));
  return absl::OkStatus();
}

absl::StatusOr<TokenTable> TokenTable::Parse(absl::string_view text) {
  TokenTable table;
  int number = 0;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    ++number;
    const absl::Status added = table.AddLine(line.substr(0, line.find('#')));
    if (!added.ok()) {
      return absl::InvalidArgumentError(absl::StrCat("line ", number, ": ", added.message()));
    }
  }
  if (table.rows_.empty()) return absl::InvalidArgumentError("no token in it");
  return table;
}

absl::StatusOr<TokenTable> TokenTable::Read(const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadPrivateFile(path));
  absl::StatusOr<TokenTable> table = Parse(text);
  if (!table.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", table.status().message()));
  }
  return table;
}

const Identity* TokenTable::Find(absl::string_view token) const {
  const std::string sha256 = storage::Sha256Hex(token);
  const Identity* found = nullptr;
  for (const Row& row : rows_) {
    if (CRYPTO_memcmp(row.sha256.data(), sha256.data(), kHexDigits) == 0) found = &row.identity;
  }
  return found;
}

}  // namespace engram::server
