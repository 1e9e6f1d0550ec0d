#include "server/listener_check.h"

#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/impl/codegen/client_unary_call.h"
#include "grpcpp/impl/codegen/rpc_method.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/tls_credentials_options.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/channel_arguments.h"
#include "server/clock.h"
#include "server/steady_alarm.h"

namespace engram::server {
namespace {

constexpr char kHealthCheck[] = "/grpc.health.v1.Health/Check";

// Where to reach a listener on this machine: one that listens on all addresses listens on loopback.
std::string Reachable(const std::string& address) {
  if (absl::StartsWith(address, "0.0.0.0:")) return absl::StrCat("127.0.0.1", address.substr(7));
  if (absl::StartsWith(address, "[::]:")) return absl::StrCat("[::1]", address.substr(4));
  return address;
}

std::shared_ptr<grpc::ChannelCredentials> MakeCredentials(const v1::ServerConfig& config) {
  if (!config.has_tls()) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  const v1::SelfProbe& probe = config.self_probe();
  if (!probe.certificate_file().empty()) {
    options.set_certificate_provider(
        std::make_shared<grpc::experimental::FileWatcherCertificateProvider>(
            probe.key_file(), probe.certificate_file(), /*refresh_interval_sec=*/1));
    options.watch_identity_key_cert_pairs();
  }
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(
      std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  return grpc::experimental::TlsCredentials(options);
}

absl::Status CallHealth(const std::string& target,
                        const std::shared_ptr<grpc::ChannelCredentials>& credentials,
                        const std::string& token, absl::Duration patience) {
  grpc::ChannelArguments arguments;
  // A channel that shared another's connection would prove nothing.
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS,
                   static_cast<int>(absl::ToInt64Milliseconds(patience)));
  const auto channel = grpc::CreateCustomChannel(target, credentials, arguments);
  grpc::ClientContext context;
  context.set_deadline(SteadyIn(patience));
  if (!token.empty()) context.AddMetadata("authorization", absl::StrCat("Bearer ", token));
  const grpc::internal::RpcMethod method(kHealthCheck, grpc::internal::RpcMethod::NORMAL_RPC,
                                         channel);
  const grpc::Slice nothing;
  const grpc::ByteBuffer request(&nothing, 1);
  grpc::ByteBuffer reply;
  const grpc::Status status =
      grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
          channel.get(), method, &context, request, &reply);
  return {static_cast<absl::StatusCode>(status.error_code()), status.error_message()};
}

absl::Status NoAnswer(absl::string_view what) {
  return absl::UnavailableError(absl::StrCat("the listener ", what));
}

bool WaitFor(int socket, short events, absl::Duration end) {
  pollfd wanted{socket, events, 0};
  const int64_t left = absl::ToInt64Milliseconds(end - SteadyNow());
  return left > 0 && poll(&wanted, 1, static_cast<int>(left)) == 1;
}

// A connected, non-blocking socket, or -1.
int Connect(const std::string& target, absl::Duration end) {
  const size_t colon = target.rfind(':');
  absl::string_view host = absl::string_view(target).substr(0, colon);
  absl::ConsumePrefix(&host, "[");
  absl::ConsumeSuffix(&host, "]");
  addrinfo hints = {};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (getaddrinfo(std::string(host).c_str(), target.c_str() + colon + 1, &hints, &found) != 0) {
    return -1;
  }
  const absl::Cleanup freer = [found] { freeaddrinfo(found); };
  const int socket = ::socket(found->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (socket < 0) return -1;
  int error = 0;
  socklen_t size = sizeof(error);
  const bool begun =
      connect(socket, found->ai_addr, found->ai_addrlen) == 0 || errno == EINPROGRESS;
  if (begun && WaitFor(socket, POLLOUT, end) &&
      getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &size) == 0 && error == 0) {
    return socket;
  }
  close(socket);
  return -1;
}

// A certificate that is missing is refused in TLS, too: whatever TLS says, somebody is there.
absl::Status ShakeHands(const std::string& target, absl::Duration patience) {
  const absl::Duration end = SteadyNow() + patience;
  const int socket = Connect(target, end);
  if (socket < 0) return NoAnswer("takes no connection");
  const absl::Cleanup closer = [socket] { close(socket); };
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  &SSL_CTX_free);
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  const std::unique_ptr<SSL, decltype(&SSL_free)> tls(SSL_new(context.get()), &SSL_free);
  SSL_set_fd(tls.get(), socket);
  while (true) {
    ERR_clear_error();
    const int done = SSL_connect(tls.get());
    if (done == 1) return absl::OkStatus();
    const int error = SSL_get_error(tls.get(), done);
    const bool reads = error == SSL_ERROR_WANT_READ;
    if (!reads && error != SSL_ERROR_WANT_WRITE) {
      const bool told = error == SSL_ERROR_SSL &&
                        ERR_GET_REASON(ERR_peek_error()) != SSL_R_UNEXPECTED_EOF_WHILE_READING;
      return told ? absl::OkStatus() : NoAnswer("closes connections before TLS");
    }
    if (!WaitFor(socket, reads ? POLLIN : POLLOUT, end)) return NoAnswer("answers nothing");
  }
}

}  // namespace

std::function<absl::Status(absl::Duration)> MakeListenerCheck(const std::string& address,
                                                              const v1::ServerConfig& config,
                                                              const std::string& token) {
  const std::string target = Reachable(address);
  const bool mutual = !config.tls().client_ca_file().empty();
  if (mutual && config.self_probe().certificate_file().empty()) {
    return [target](absl::Duration patience) { return ShakeHands(target, patience); };
  }
  return [target, token, credentials = MakeCredentials(config)](absl::Duration patience) {
    return CallHealth(target, credentials, token, patience);
  };
}

std::function<absl::Status(absl::Duration)> FullIsAnAnswer(
    std::function<absl::Status(absl::Duration)> check, const QuotaLedger* quotas) {
  return [check = std::move(check), quotas](absl::Duration patience) {
    const uint64_t refused = quotas->met(QuotaKind::kConnections);
    const absl::Status answer = check(patience);
    return quotas->met(QuotaKind::kConnections) > refused ? absl::OkStatus() : answer;
  };
}

}  // namespace engram::server
