#include "client/connection.h"

#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

// The server allows a ping every 30 s; one a minute finds a dead peer and stays far from that.
constexpr int kKeepaliveTimeMs = 60'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
// A restarted server is back within a second or two: do not let the channel's own backoff grow past
// it.
constexpr int kReconnectDelayMaxMs = 1'000;

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::ostringstream contents;
  contents << file.rdbuf();
  return contents.str();
}

// Whether bytes to `target` cannot leave this machine.
bool IsLocal(absl::string_view target) {
  absl::ConsumePrefix(&target, "dns:///");
  absl::ConsumePrefix(&target, "ipv4:");
  absl::ConsumePrefix(&target, "ipv6:");
  // 127.example.com is a name like any other.
  const absl::string_view host = target.substr(0, target.rfind(':'));
  const bool is_loopback =
      absl::StartsWith(host, "127.") && host.find_first_not_of("0123456789.") == host.npos;
  return is_loopback || absl::StartsWith(target, "localhost:") ||
         absl::StartsWith(target, "[::1]:") || absl::StartsWith(target, "unix:");
}

absl::StatusOr<std::shared_ptr<grpc::ChannelCredentials>> CredentialsOf(
    const ConnectionOptions& options) {
  if (options.tls_certificate_file.empty() != options.tls_key_file.empty()) {
    return absl::InvalidArgumentError("a client certificate and its key go together: give both");
  }
  if (options.tls_ca_file.empty()) {
    if (!options.tls_certificate_file.empty()) {
      return absl::InvalidArgumentError("a client certificate needs the server's CA file too");
    }
    if (!options.token.empty() && !IsLocal(options.target)) {
      return absl::InvalidArgumentError(absl::StrCat("a token goes to ", options.target,
                                                     " over TLS only: give the server's CA file"));
    }
    return grpc::InsecureChannelCredentials();
  }
  grpc::SslCredentialsOptions tls;
  ENGRAM_ASSIGN_OR_RETURN(tls.pem_root_certs, ReadFile(options.tls_ca_file));
  if (!options.tls_key_file.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(tls.pem_cert_chain, ReadFile(options.tls_certificate_file));
    ENGRAM_ASSIGN_OR_RETURN(tls.pem_private_key, ReadFile(options.tls_key_file));
  }
  return grpc::SslCredentials(tls);
}

grpc::ChannelArguments ArgumentsOf(const ConnectionOptions& options) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxSendMessageSize(options.send_message_bytes_max);
  arguments.SetMaxReceiveMessageSize(options.receive_message_bytes_max);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectDelayMaxMs);
  // A proxy of the environment would get what does not leave the machine, a token among it.
  if (IsLocal(options.target)) arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  // Repeats are ours: they know which calls may be repeated.
  arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);
  return arguments;
}

}  // namespace

Connection::Connection(std::shared_ptr<grpc::Channel> channel, ConnectionOptions options)
    : channel_(std::move(channel)), options_(std::move(options)) {}

absl::StatusOr<std::shared_ptr<Connection>> Connection::Open(ConnectionOptions options) {
  if (options.target.empty()) return absl::InvalidArgumentError("the server's address is empty");
  ENGRAM_ASSIGN_OR_RETURN(auto credentials, CredentialsOf(options));
  auto channel = grpc::CreateCustomChannel(options.target, credentials, ArgumentsOf(options));
  return Wrap(std::move(channel), std::move(options));
}

std::shared_ptr<Connection> Connection::Wrap(std::shared_ptr<grpc::Channel> channel,
                                             ConnectionOptions options) {
  return std::shared_ptr<Connection>(new Connection(std::move(channel), std::move(options)));
}

void Connection::Prepare(grpc::ClientContext* context) const {
  if (!options_.token.empty()) {
    context->AddMetadata("authorization", absl::StrCat("Bearer ", options_.token));
  }
}

absl::StatusOr<std::string> ReadTokenFile(const std::string& path) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string contents, ReadFile(path));
  const absl::string_view first = absl::string_view(contents).substr(0, contents.find('\n'));
  const absl::string_view token = absl::StripAsciiWhitespace(first);
  if (token.empty()) return absl::InvalidArgumentError(absl::StrCat(path, " holds no token"));
  return std::string(token);
}

}  // namespace engram::client
