#include "server/listener_credentials.h"

#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "grpcpp/security/auth_metadata_processor.h"
#include "grpcpp/security/tls_certificate_provider.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "server/authority.h"
#include "server/config.h"
#include "server/errors.h"
#include "server/rpc_table.h"
#include "server/tls_files.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr unsigned int kReloadSeconds = 1;

// Who may call each method that has a row; kAnybody: its handler says.
const absl::flat_hash_map<absl::string_view, Role>& RolesByName() {
  static const auto* const roles = [] {
    auto* made = new absl::flat_hash_map<absl::string_view, Role>();
    for (const RpcRow& row : kRpcs) made->emplace(row.name, Role::kAnybody);
    for (const AccessRow& row : kListenerRpcs) made->emplace(row.name, row.role);
    return made;
  }();
  return *roles;
}

class CallGuard final : public grpc::AuthMetadataProcessor {
 public:
  explicit CallGuard(const Authority& authority) : authority_(authority) {}

  // Hashing a token takes a microsecond: not worth a thread of its own.
  bool IsBlocking() const override { return false; }

  grpc::Status Process(const InputMetadata& metadata, grpc::AuthContext* peer, OutputMetadata*,
                       OutputMetadata*) override {
    return ToGrpcStatus(Check(metadata, *peer));
  }

 private:
  absl::Status Check(const InputMetadata& metadata, const grpc::AuthContext& peer) const {
    const auto path = metadata.find(":path");
    absl::string_view name;
    if (path != metadata.end()) name = {path->second.data(), path->second.size()};
    absl::ConsumePrefix(&name, "/");
    const auto row = RolesByName().find(name);
    const bool known = row != RolesByName().end();
    if (known && row->second == Role::kAnybody) return absl::OkStatus();
    ENGRAM_ASSIGN_OR_RETURN(const Identity caller, authority_.Identify(metadata, &peer));
    if (!known) return absl::UnimplementedError("unknown method");
    return Authority::CheckRole(caller, row->second, name.substr(name.find('/') + 1));
  }

  const Authority& authority_;
};

absl::Status CheckReachable(absl::string_view listen, bool local, bool tls, bool authority) {
  if (local || (tls && authority)) return absl::OkStatus();
  const absl::string_view lacking =
      authority ? "tls: tokens would cross the network in the clear"
                : tls ? "authentication: anybody could do anything" : "tls and authentication";
  return BadField("--listen", absl::StrCat("\"", Echo(listen),
                                           "\" can be reached from other machines; configure ",
                                           lacking, ", or use 127.0.0.1, [::1] or unix:"));
}

std::shared_ptr<grpc::ServerCredentials> MakeTlsCredentials(const v1::Tls& tls) {
  using grpc::experimental::FileWatcherCertificateProvider;
  const bool mutual = !tls.client_ca_file().empty();
  const auto files =
      mutual ? std::make_shared<FileWatcherCertificateProvider>(
                   tls.key_file(), tls.certificate_file(), tls.client_ca_file(), kReloadSeconds)
             : std::make_shared<FileWatcherCertificateProvider>(
                   tls.key_file(), tls.certificate_file(), kReloadSeconds);
  grpc::experimental::TlsServerCredentialsOptions options(files);
  options.watch_identity_key_cert_pairs();
  if (mutual) {
    options.watch_root_certs();
    options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  }
  return grpc::experimental::TlsServerCredentials(options);
}

}  // namespace

absl::Status CheckListener(absl::string_view listen, const v1::ServerConfig& config,
                           const Authority* authority) {
  ENGRAM_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress("--listen", listen));
  ENGRAM_RETURN_IF_ERROR(
      CheckReachable(listen, address.local_only, config.has_tls(), authority != nullptr));
  return config.has_tls() ? CheckTlsFiles("tls", config.tls()) : absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeListenerCredentials(
    absl::string_view listen, const Edge& edge) {
  ENGRAM_RETURN_IF_ERROR(CheckListener(listen, edge.config, edge.authority));
  ENGRAM_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress("--listen", listen));
  std::shared_ptr<grpc::ServerCredentials> credentials;
  if (edge.config.has_tls()) {
    credentials = MakeTlsCredentials(edge.config.tls());
  } else if (edge.authority != nullptr) {
    // In the clear and to this machine only; insecure credentials take no processor.
    credentials =
        grpc::experimental::LocalServerCredentials(address.host.empty() ? UDS : LOCAL_TCP);
  } else {
    return grpc::InsecureServerCredentials();
  }
  if (edge.authority != nullptr) {
    credentials->SetAuthMetadataProcessor(std::make_shared<CallGuard>(*edge.authority));
  }
  return credentials;
}

}  // namespace engram::server
