// grpc.health.v1 by its wire form: HealthCheckRequest{string service = 1},
// HealthCheckResponse{enum status = 1}. Debian installs no stubs for it.
//
// Threading: any thread. Failure: the call's status as absl::Status.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/sync_stream.h"

namespace engram::testing {

enum class ServingStatus { kUnknown = 0, kServing = 1, kNotServing = 2, kServiceUnknown = 3 };

absl::StatusOr<ServingStatus> CheckHealth(const std::shared_ptr<grpc::Channel>& channel,
                                          absl::string_view service);

// Watch: each Next blocks until the next status; false once the stream ended.
class HealthWatch {
 public:
  HealthWatch(std::shared_ptr<grpc::Channel> channel, absl::string_view service);
  ~HealthWatch();
  bool Next(ServingStatus* status);

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> reader_;
};

}  // namespace engram::testing
