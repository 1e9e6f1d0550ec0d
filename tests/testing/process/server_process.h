// A real engramd on a folder: started on free ports, killed, drained, started again.
//
// Threading: one thread at a time; start it from the main thread (see subprocess.h). The addresses
//   may be read from any thread between a start and the next.
// Ownership: the destructor kills the server.
// Failure: Start answers with what the server printed when it ends early or is not ready in time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/security/credentials.h"
#include "tests/testing/process/subprocess.h"

namespace engram::testing {

struct ServerOptions {
  std::string data_dir;
  // ServerConfig in protobuf text form; empty: none.
  std::string config;
  std::vector<std::string> flags;
  // What NewChannel connects with; none: in the clear.
  std::shared_ptr<grpc::ChannelCredentials> credentials;
  std::string binary = {};  // empty: engramd
  std::vector<std::string> environment = {};  // NAME=value, beside this process's own
  absl::Duration ready_within = absl::Seconds(30);
};

class ServerProcess {
 public:
  // Returns once health says that the server serves.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Start(ServerOptions options);
  // Returns as soon as the process exists.
  static absl::StatusOr<std::unique_ptr<ServerProcess>> Launch(ServerOptions options);

  pid_t pid() const { return child_->pid(); }
  const std::string& grpc_address() const { return grpc_address_; }
  const std::string& http_address() const { return http_address_; }
  // A connection of its own: no other call shares its TCP stream.
  std::shared_ptr<grpc::Channel> NewChannel() const { return NewChannel(options_.credentials); }
  std::shared_ptr<grpc::Channel> NewChannel(
      const std::shared_ptr<grpc::ChannelCredentials>& credentials) const;
  absl::Status Signal(int signal) { return child_->Signal(signal); }

  // Reads endpoints.json: the server listens, its models may still recover.
  absl::Status WaitListening();
  // The same, then waits until health says SERVING for the server, or for one model.
  absl::Status WaitReady(const std::string& model = "");
  // How it ended, when it has.
  absl::optional<Ended> Poll() { return child_->Poll(); }
  absl::StatusOr<Ended> WaitEnded(absl::Duration patience) { return child_->Wait(patience); }
  // SIGKILL, at this instant.
  void Kill() { child_->Kill(); }
  // SIGTERM and wait for the exit code.
  absl::StatusOr<int> Drain(absl::Duration patience = absl::Seconds(30));
  std::string Output() const { return child_->Output(); }

 private:
  ServerProcess(ServerOptions options, std::unique_ptr<Subprocess> child);

  const ServerOptions options_;
  const absl::Time deadline_;
  std::unique_ptr<Subprocess> child_;
  std::string grpc_address_;
  std::string http_address_;
};

// Where the build put the programs.
std::string ServerBinary();
std::string CommandBinary();

// The command line that Launch runs, for tests that expect a start to fail.
std::vector<std::string> ServerCommand(const ServerOptions& options);

}  // namespace engram::testing
