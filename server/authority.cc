#include "server/authority.h"

#include <grpc/grpc_security_constants.h>
#include <openssl/crypto.h>
#include <openssl/rand.h>
#include <sys/stat.h>

#include <iterator>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "server/errors.h"
#include "server/names.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr int kTokenBytes = 32;
constexpr absl::string_view kScheme = "Bearer ";
constexpr absl::string_view kIdentityUri = "engram://";

absl::Status InvalidCredentials() {
  return WithReason(absl::StatusCode::kUnauthenticated, "INVALID_CREDENTIALS",
                    "missing or invalid credentials");
}

absl::string_view View(grpc::string_ref text) { return {text.data(), text.size()}; }

absl::optional<Identity> ParseUri(absl::string_view uri) {
  if (!absl::ConsumePrefix(&uri, kIdentityUri)) return absl::nullopt;
  const std::pair<absl::string_view, absl::string_view> parts =
      absl::StrSplit(uri, absl::MaxSplits('/', 1));
  const absl::optional<Role> role = RoleOf(parts.first);
  if (!role.has_value() || !IsName(parts.second)) return absl::nullopt;
  return Identity{*role, std::string(parts.second)};
}

// Nobody, unless the certificate names exactly one identity.
absl::optional<Identity> OfCertificate(const grpc::AuthContext& peer) {
  absl::optional<Identity> found;
  for (const grpc::string_ref& uri : peer.FindPropertyValues(GRPC_PEER_URI_PROPERTY_NAME)) {
    if (!absl::StartsWith(View(uri), kIdentityUri)) continue;
    if (found.has_value()) return absl::nullopt;
    found = ParseUri(View(uri));
    if (!found.has_value()) return absl::nullopt;
  }
  return found;
}

std::string DrawToken() {
  std::string bytes(kTokenBytes, '\0');
  ENGRAM_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(&bytes[0]), kTokenBytes) == 1);
  return absl::BytesToHexString(bytes);
}

}  // namespace

Authority::Authority(std::string token_file, ProducerBindings bindings)
    : token_file_(std::move(token_file)),
      own_token_(DrawToken()),
      bindings_(std::make_shared<const ProducerBindings>(std::move(bindings))) {}

absl::StatusOr<std::unique_ptr<Authority>> Authority::Make(const v1::ServerConfig& config) {
  const bool certificates = !config.tls().client_ca_file().empty();
  if (!config.has_authentication() && !certificates) return std::unique_ptr<Authority>();
  const std::string& token_file = config.authentication().token_file();
  if (token_file.empty() && !certificates) {
    return BadField("authentication.token_file", "required without tls.client_ca_file");
  }
  ENGRAM_ASSIGN_OR_RETURN(ProducerBindings bindings,
                          ProducerBindings::Make(config.authentication()));
  std::unique_ptr<Authority> made(new Authority(token_file, std::move(bindings)));
  const absl::Status read = made->Reload();
  if (!read.ok()) return BadField("authentication.token_file", read.message());
  return made;
}

bool Authority::FileMark::operator!=(const FileMark& other) const {
  return std::tie(device, inode, size, changed_ns) !=
         std::tie(other.device, other.inode, other.size, other.changed_ns);
}

Authority::FileMark Authority::Mark() const {
  struct stat facts = {};
  if (stat(token_file_.c_str(), &facts) != 0) return FileMark();
  // ctime: a change of mode counts too.
  return {facts.st_dev, facts.st_ino, facts.st_size,
          facts.st_ctim.tv_sec * int64_t{1'000'000'000} + facts.st_ctim.tv_nsec};
}

absl::Status Authority::Reload() {
  base::MutexLock lock(&reload_mutex_);
  return ReadTokens();
}

absl::Status Authority::ReadTokens() {
  if (token_file_.empty()) return absl::OkStatus();
  // Marked before it is read: a change meanwhile is seen the next time.
  mark_ = Mark();
  ENGRAM_ASSIGN_OR_RETURN(TokenTable table, TokenTable::Read(token_file_));
  auto tokens = std::make_shared<const TokenTable>(std::move(table));
  {
    base::MutexLock lock(&mutex_);
    tokens_ = std::move(tokens);
  }
  generation_.fetch_add(1, std::memory_order_release);
  return absl::OkStatus();
}

absl::Status Authority::ReloadIfChanged() {
  base::MutexLock lock(&reload_mutex_);
  return token_file_.empty() || !(Mark() != mark_) ? absl::OkStatus() : ReadTokens();
}

std::shared_ptr<const ProducerBindings> Authority::bindings() const {
  base::MutexLock lock(&mutex_);
  return bindings_;
}

void Authority::SetBindings(ProducerBindings bindings) {
  auto next = std::make_shared<const ProducerBindings>(std::move(bindings));
  {
    base::MutexLock lock(&mutex_);
    bindings_ = std::move(next);
  }
  generation_.fetch_add(1, std::memory_order_release);
}

absl::optional<Identity> Authority::FindToken(absl::string_view authorization) const {
  if (!absl::StartsWithIgnoreCase(authorization, kScheme)) return absl::nullopt;
  const absl::string_view token = authorization.substr(kScheme.size());
  if (token.size() == own_token_.size() &&
      CRYPTO_memcmp(token.data(), own_token_.data(), token.size()) == 0) {
    return Identity{Role::kReader, "engramd"};
  }
  std::shared_ptr<const TokenTable> tokens;
  {
    base::MutexLock lock(&mutex_);
    tokens = tokens_;
  }
  if (tokens == nullptr) return absl::nullopt;
  const Identity* found = tokens->Find(token);
  return found == nullptr ? absl::nullopt : absl::optional<Identity>(*found);
}

absl::StatusOr<Identity> Authority::Identify(const CallMetadata& metadata,
                                             const grpc::AuthContext* peer) const {
  const auto headers = metadata.equal_range("authorization");
  absl::optional<Identity> found;
  if (headers.first != headers.second) {
    if (std::next(headers.first) != headers.second) return InvalidCredentials();
    found = FindToken(View(headers.first->second));
  } else if (peer != nullptr) {
    found = OfCertificate(*peer);
  }
  if (!found.has_value()) return InvalidCredentials();
  return *std::move(found);
}

absl::StatusOr<Identity> Authority::Identify(absl::string_view authorization) const {
  absl::optional<Identity> found = FindToken(authorization);
  if (!found.has_value()) return InvalidCredentials();
  return *std::move(found);
}

absl::Status Authority::CheckRole(const Identity& caller, Role needed, absl::string_view name) {
  if (caller.role >= needed) return absl::OkStatus();
  return WithReason(absl::StatusCode::kPermissionDenied, "ROLE_REQUIRED",
                    absl::StrCat("role ", RoleName(caller.role), " may not call ", name, "; needs ",
                                 RoleName(needed)),
                    "role", RoleName(needed));
}

}  // namespace engram::server
