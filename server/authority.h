// Who is calling, and whether they may: tokens, certificates, roles and bindings in one place.
//
// A call's credentials are its bearer token or, without one, the engram:// URI of its certificate.
// A token that is not valid is never made good by a certificate.
//
// Threading: every method from any thread.
// Ownership: holds the tokens that are valid now; a call under way keeps what it was admitted with.
// Failure: UNAUTHENTICATED INVALID_CREDENTIALS, in the same words whatever is missing or wrong;
//   PERMISSION_DENIED ROLE_REQUIRED naming both roles. Make and Reload: INVALID_ARGUMENT or
//   NOT_FOUND; what a failed Reload found valid before stays so.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "engram/v1/config.pb.h"
#include "grpcpp/security/auth_context.h"
#include "grpcpp/support/string_ref.h"
#include "server/identity.h"
#include "server/producer_bindings.h"
#include "server/token_table.h"
#include "storage/base/mutex.h"

namespace engram::server {

using CallMetadata = std::multimap<grpc::string_ref, grpc::string_ref>;

class Authority {
 public:
  // Null when the configuration asks for no authentication.
  static absl::StatusOr<std::unique_ptr<Authority>> Make(const v1::ServerConfig& config);

  // Of a gRPC call: its metadata and what the handshake said.
  absl::StatusOr<Identity> Identify(const CallMetadata& metadata,
                                    const grpc::AuthContext* peer) const;
  // Of an HTTP request: its Authorization header, "" without one.
  absl::StatusOr<Identity> Identify(absl::string_view authorization) const;

  // `name`: of a method or page, for the message.
  static absl::Status CheckRole(const Identity& caller, Role needed, absl::string_view name);
  std::shared_ptr<const ProducerBindings> bindings() const ABSL_LOCKS_EXCLUDED(mutex_);
  // A reader's token that only this process knows, for calls to itself.
  const std::string& own_token() const { return own_token_; }

  // Another number whenever what was identified before may be so no more.
  uint64_t generation() const { return generation_.load(std::memory_order_acquire); }

  // Reads the tokens again; ReloadIfChanged only when their file is another than it was.
  absl::Status Reload() ABSL_LOCKS_EXCLUDED(reload_mutex_, mutex_);
  absl::Status ReloadIfChanged() ABSL_LOCKS_EXCLUDED(reload_mutex_, mutex_);
  void SetBindings(ProducerBindings bindings) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  // What tells one state of a file from the next.
  struct FileMark {
    dev_t device = 0;
    ino_t inode = 0;
    off_t size = 0;
    int64_t changed_ns = 0;
    bool operator!=(const FileMark& other) const;
  };

  Authority(std::string token_file, ProducerBindings bindings);

  FileMark Mark() const;
  absl::Status ReadTokens() ABSL_EXCLUSIVE_LOCKS_REQUIRED(reload_mutex_);
  absl::optional<Identity> FindToken(absl::string_view authorization) const
      ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string token_file_;  // may be empty: certificates only
  const std::string own_token_;
  base::Mutex reload_mutex_;
  FileMark mark_ ABSL_GUARDED_BY(reload_mutex_);
  std::atomic<uint64_t> generation_{0};
  mutable base::Mutex mutex_;
  std::shared_ptr<const TokenTable> tokens_ ABSL_GUARDED_BY(mutex_);
  std::shared_ptr<const ProducerBindings> bindings_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
