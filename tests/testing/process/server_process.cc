#include "tests/testing/process/server_process.h"

#include <signal.h>
#include <unistd.h>

#include <fstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/create_channel.h"
#include "nlohmann/json.hpp"
#include "storage/base/status_macros.h"
#include "tests/testing/process/health.h"

namespace engram::testing {
namespace {

std::string EndpointsFile(const ServerOptions& options) {
  return options.data_dir + "/endpoints.json";
}

}  // namespace

std::string ServerBinary() { return ENGRAM_SERVER_BINARY; }
std::string CommandBinary() { return ENGRAM_COMMAND_BINARY; }

std::vector<std::string> ServerCommand(const ServerOptions& options) {
  const std::string binary = options.binary.empty() ? ServerBinary() : options.binary;
  std::vector<std::string> argv = {binary, "--data_dir=" + options.data_dir,
                                   "--listen=127.0.0.1:0", "--http_listen=127.0.0.1:0"};
  if (!options.config.empty()) {
    const std::string file = options.data_dir + ".textproto";
    std::ofstream(file) << options.config;
    argv.push_back("--config=" + file);
  }
  argv.insert(argv.end(), options.flags.begin(), options.flags.end());
  return argv;
}

ServerProcess::ServerProcess(ServerOptions options, std::unique_ptr<Subprocess> child)
    : options_(std::move(options)),
      deadline_(absl::Now() + options_.ready_within),
      child_(std::move(child)) {}

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Launch(ServerOptions options) {
  // A killed server leaves its ports behind; they must not be taken for the new one's.
  unlink(EndpointsFile(options).c_str());
  auto child = Subprocess::Start(ServerCommand(options), options.data_dir + ".log",
                                 options.environment);
  if (!child.ok()) return child.status();
  return std::unique_ptr<ServerProcess>(new ServerProcess(std::move(options), *std::move(child)));
}

absl::StatusOr<std::unique_ptr<ServerProcess>> ServerProcess::Start(ServerOptions options) {
  ENGRAM_ASSIGN_OR_RETURN(auto server, Launch(std::move(options)));
  ENGRAM_RETURN_IF_ERROR(server->WaitReady());
  return server;
}

absl::Status ServerProcess::WaitListening() {
  while (absl::Now() < deadline_) {
    const auto json = nlohmann::json::parse(ReadWholeFile(EndpointsFile(options_)), nullptr, false);
    if (json.is_object() && json.contains("grpc") && json.contains("http")) {
      grpc_address_ = json["grpc"].get<std::string>();
      http_address_ = json["http"].get<std::string>();
      return absl::OkStatus();
    }
    if (child_->Poll().has_value()) {
      return absl::InternalError(
          absl::StrCat("engramd ended with ", child_->Poll()->code, ":\n", Output()));
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
  return absl::DeadlineExceededError(absl::StrCat("no endpoints.json:\n", Output()));
}

absl::Status ServerProcess::WaitReady(const std::string& model) {
  if (grpc_address_.empty()) ENGRAM_RETURN_IF_ERROR(WaitListening());
  const auto channel = NewChannel();
  while (absl::Now() < deadline_) {
    const auto health = CheckHealth(channel, model);
    if (health.ok() && *health == ServingStatus::kServing) return absl::OkStatus();
    if (child_->Poll().has_value()) {
      return absl::InternalError(absl::StrCat("engramd ended before it served:\n", Output()));
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
  return absl::DeadlineExceededError(absl::StrCat("\"", model, "\" not serving:\n", Output()));
}

std::shared_ptr<grpc::Channel> ServerProcess::NewChannel(
    const std::shared_ptr<grpc::ChannelCredentials>& credentials) const {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  arguments.SetMaxReceiveMessageSize(64 << 20);
  arguments.SetInt("grpc.initial_reconnect_backoff_ms", 20);
  // This one is also how long an attempt may take, which on a loaded machine is not little.
  arguments.SetInt("grpc.min_reconnect_backoff_ms", 2000);
  arguments.SetInt("grpc.max_reconnect_backoff_ms", 200);
  return grpc::CreateCustomChannel(
      grpc_address_, credentials == nullptr ? grpc::InsecureChannelCredentials() : credentials,
      arguments);
}

absl::StatusOr<int> ServerProcess::Drain(absl::Duration patience) {
  ENGRAM_RETURN_IF_ERROR(child_->Signal(SIGTERM));
  ENGRAM_ASSIGN_OR_RETURN(const Ended ended, child_->Wait(patience));
  return ended.code;
}

}  // namespace engram::testing
