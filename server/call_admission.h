// The door that every handler goes through: who calls, whether the row of kRpcs lets them, whether
// the server takes calls at all, in this order, so that a stranger learns nothing.
//
// Threading: free functions without state.
// Failure: UNAUTHENTICATED, PERMISSION_DENIED (authority.h), UNAVAILABLE (call_gate.h).
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "engram/v1/learning.pb.h"
#include "grpcpp/server_context.h"
#include "server/edge.h"
#include "server/identity.h"
#include "server/rpc_table.h"

namespace engram::server {

// Who it is that may make this call; an admin without a name when authentication is off.
absl::StatusOr<Identity> AdmitCall(const Edge& edge, Rpc rpc,
                                   const grpc::CallbackServerContext& context);

// The same whether or not the server takes calls: for those that ask just that.
absl::StatusOr<Identity> AdmitCaller(const Edge& edge, Rpc rpc,
                                     const grpc::CallbackServerContext& context);

// Whether a stream that was admitted still may go on: streams outlive tokens. `*generation`, 0 at
// first, is that of the tokens that it was last checked against; it costs a load while they stay.
absl::Status StillAdmitted(const Edge& edge, Rpc rpc, const grpc::CallbackServerContext& context,
                           uint64_t* generation);

// Whether the caller may learn as this producer.
absl::Status AdmitProducer(const Edge& edge, const Identity& caller, absl::string_view producer);
// Whether it may send this message: a boundary is not everybody's to mark.
absl::Status AdmitMessage(const Edge& edge, const Identity& caller,
                          const v1::LearnMessage& message);

}  // namespace engram::server
