// One CreateModelFromWeights or Import stream: the request, its file in chunks, the end record;
// then the model is made on the call pool.
//
// Threading: gRPC's callback threads; creation and the checksum on the pool.
// Ownership: the reactor keeps itself until OnDone, and until the pool has done its part; `bytes`
//   are shared, since that may be after the service is gone. `edge` outlives it.
// Failure: ABORTED NO_END for a stream without its end, DATA_LOSS END_MISMATCH for another length
//   or CRC-32, DEADLINE_EXCEEDED when no part comes for edge.streams.part_patience,
//   RESOURCE_EXHAUSTED beyond limits.weights_bytes; then what ModelHost::Create answers. Nothing of
//   a file is stored before all of it is there and checked.
// Bounds: limits.weights_bytes for all streams together.
#pragma once

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/edge.h"
#include "server/rpc_table.h"
#include "server/weights_upload.h"

namespace engram::server {

// `rpc` is one of the two.
grpc::ServerReadReactor<grpc::ByteBuffer>* StartWeightsStream(
    const Edge& edge, Rpc rpc, const grpc::CallbackServerContext& context, WeightsBytes bytes,
    grpc::ByteBuffer* reply);

}  // namespace engram::server
