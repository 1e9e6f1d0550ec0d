// An authority, certificates and tokens as deploy/development_credentials makes them, and channels
// that carry them.
//
// Threading: the main thread. Failure: gtest expectations.
#pragma once

#include <memory>
#include <string>

#include "absl/strings/string_view.h"
#include "grpcpp/security/credentials.h"

namespace engram::integration {

class Credentials {
 public:
  // Runs the script; `folder` exists.
  explicit Credentials(std::string folder) : folder_(std::move(folder)) { Renew(); }
  // Runs it again: other certificates of the same authority, the same tokens. Empty `server`: named
  // localhost and its addresses.
  void Renew(const std::string& server = "") const;

  std::string File(absl::string_view name) const;
  std::string Token(absl::string_view role) const;
  // The configuration that the script leaves; `mutual` asks for client certificates too.
  std::string Config(bool mutual = false) const;

  // TLS, with the certificate of `role` (none when empty) and `token` (none when empty).
  std::shared_ptr<grpc::ChannelCredentials> Channel(absl::string_view role,
                                                    const std::string& token) const;

 private:
  const std::string folder_;
};

}  // namespace engram::integration
