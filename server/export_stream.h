// One Export stream: the file is made on the call pool, then sent in chunks.
//
// Threading: gRPC's callback threads, and the pool's for the file.
// Ownership: the reactor keeps itself until OnDone, and until the pool has done its part; `bytes`
//   are shared, since that may be after the service is gone. `edge` outlives it.
// Failure: what ModelRuntime::Export answers; RESOURCE_EXHAUSTED beyond limits.weights_bytes, or
//   when a chunk is not read for edge.streams.write_patience.
// Bounds: limits.weights_bytes for all streams together; chunks of 1 MiB.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/edge.h"

namespace engram::server {

// Bytes of files on their way out, over all streams.
using ExportBytes = std::shared_ptr<std::atomic<int64_t>>;

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartExportStream(const Edge& edge,
                                                              grpc::CallbackServerContext* context,
                                                              ExportBytes bytes,
                                                              const grpc::ByteBuffer& request);

}  // namespace engram::server
