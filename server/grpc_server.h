// The gRPC listener: every service of engram.v1, health, reflection, and the limits that keep one
// client from starving the rest (promises.md 3.2).
//
// Threading: Start, Drain and the destructor from the owner's thread; Hurry from any.
// Ownership: owns the services; `edge` and `board` outlive it.
// Failure of Start: INVALID_ARGUMENT for an address that is malformed, or not loopback without TLS
//   and authentication, and for TLS files that cannot work; UNAVAILABLE when the port is taken.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/impl/service_type.h"
#include "grpcpp/server.h"
#include "server/connection_acceptor.h"
#include "server/edge.h"
#include "server/serving_board.h"

namespace engram::server {

class GrpcServer {
 public:
  static absl::StatusOr<std::unique_ptr<GrpcServer>> Start(const std::string& listen,
                                                           const Edge& edge, ServingBoard* board);
  ~GrpcServer();

  // "127.0.0.1:41213": the address with the port really bound.
  const std::string& address() const { return acceptor_->address(); }

  // To this server from within the process: no socket, no handshake, the same services. Messages
  // are as large as the listener's.
  std::shared_ptr<grpc::Channel> OwnChannel();

  // Refuses new calls, lets streams end with what they accepted, cancels what is left after
  // `patience` (or at once after Hurry), closes the listener.
  void Drain(absl::Duration patience);
  void Hurry() { hurried_.store(true, std::memory_order_release); }
  bool hurried() const { return hurried_.load(std::memory_order_acquire); }

 private:
  GrpcServer(const Edge& edge, ServingBoard* board) : edge_(edge), board_(board) {}

  const Edge& edge_;
  ServingBoard* const board_;
  std::unique_ptr<ConnectionAcceptor> acceptor_;
  std::vector<std::unique_ptr<grpc::Service>> services_;
  std::unique_ptr<grpc::Server> server_;
  std::atomic<bool> hurried_{false};
};

}  // namespace engram::server
