// PredictStream: one answer a request, in order; a request that fails ends the stream.
//
// One request is in work at a time: flow control is then gRPC's own, and order is free. A client
// that wants parallel predictions opens more calls.
//
// Threading: gRPC's reactions and the predictor's callbacks. Ownership: keeps itself until OnDone.
#pragma once

#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/edge.h"
#include "server/predictor.h"

namespace engram::server {

// `predictor` outlives the stream.
grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartPredictStream(
    const Edge& edge, const Predictor& predictor, grpc::CallbackServerContext* context);

}  // namespace engram::server
