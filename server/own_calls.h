// Calls of this process to its own gRPC services, over a channel inside the process: what comes in
// by HTTP passes the same admission, roles, quotas and checks as what comes in by gRPC, because it
// is the same call.
//
// Threading: every method from any thread; Call blocks.
// Ownership: shares the channel, which lives as long as the gRPC server: later calls are
//   UNAVAILABLE. `authority` outlives it; null: authentication is off.
// Failure: the call's own status, its google.rpc details as payloads (errors.h).
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "grpcpp/channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "server/authority.h"
#include "server/rpc_table.h"

namespace engram::server {

class OwnCalls {
 public:
  explicit OwnCalls(std::shared_ptr<grpc::Channel> channel, const Authority* authority = nullptr);

  // OK where the caller may call. Anybody else is told so by the call itself, made with nothing in
  // it: so it is counted and recorded, and nobody reads a stranger's body.
  absl::Status Admit(Rpc rpc, absl::string_view authorization) const;

  // `authorization`: the caller's header, passed on as it came; "" without one.
  absl::Status Call(Rpc rpc, absl::string_view authorization,
                    const google::protobuf::Message& request, google::protobuf::Message* reply,
                    absl::Duration patience) const;

 private:
  const Authority* const authority_;
  mutable grpc::GenericStub stub_;
};

}  // namespace engram::server
