// A channel to one engramd: address, TLS, token, message limits, and the deadline of unary calls.
//
// Threading: safe from any thread; share one Connection among all clients and streams.
// Ownership: holds the gRPC channel; clients and streams made from it hold the Connection's shared
//   state, so they may outlive it.
// Failure: Open fails with INVALID_ARGUMENT or NOT_FOUND on options that cannot work (empty target,
//   unreadable files, a token that would cross a network in the clear). It does not connect: an
//   absent server shows as UNAVAILABLE on the first call.
// Bounds: messages above the limits below fail with RESOURCE_EXHAUSTED.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/retry.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"

namespace engram::client {

struct ConnectionOptions {
  // HOST:PORT, or any gRPC target.
  std::string target = "127.0.0.1:7401";
  // File of PEM roots. Empty: no TLS.
  std::string tls_ca_file;
  // Files of this client's own certificate and key, where the server asks for one: both or none,
  // and with tls_ca_file.
  std::string tls_certificate_file;
  std::string tls_key_file;
  // Sent as "authorization: Bearer TOKEN" when not empty; over TLS or to this machine only.
  std::string token;
  // Of every unary call, its repeats included.
  absl::Duration unary_deadline = absl::Seconds(30);
  // The server's default limit.
  int send_message_bytes_max = 4 << 20;
  int receive_message_bytes_max = 64 << 20;
  RetryOptions retry;
};

class Connection {
 public:
  static absl::StatusOr<std::shared_ptr<Connection>> Open(ConnectionOptions options);

  // Over a channel that the caller made, e.g. in process.
  static std::shared_ptr<Connection> Wrap(std::shared_ptr<grpc::Channel> channel,
                                          ConnectionOptions options);

  // Adds the token to a call.
  void Prepare(grpc::ClientContext* context) const;

  const std::shared_ptr<grpc::Channel>& channel() const { return channel_; }
  const ConnectionOptions& options() const { return options_; }

 private:
  Connection(std::shared_ptr<grpc::Channel> channel, ConnectionOptions options);

  const std::shared_ptr<grpc::Channel> channel_;
  const ConnectionOptions options_;
};

// The first line of a token file, without surrounding blanks.
absl::StatusOr<std::string> ReadTokenFile(const std::string& path);

}  // namespace engram::client
