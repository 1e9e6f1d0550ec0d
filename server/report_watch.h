// WatchReport: one stream of report events to one watcher.
//
// Threading: events arrive on the model's threads and are queued; gRPC's write completions take
// them
//   off. Ownership: keeps itself until OnDone, where it unsubscribes.
// Bounds: a watcher that lags StreamLimits::watch_events behind is closed, RESOURCE_EXHAUSTED.
#pragma once

#include <memory>

#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/edge.h"

namespace engram::server {

grpc::ServerWriteReactor<grpc::ByteBuffer>* StartReportWatch(
    const Edge& edge, const grpc::CallbackServerContext& context, const grpc::ByteBuffer& request);

}  // namespace engram::server
