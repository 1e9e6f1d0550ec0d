// One Learn stream: hello, messages, end; acks back.
//
// Reading and learning are decoupled: a message is handed to the model as it comes and acked once
// it is durable, so that one stream fills group commits. Acks are cumulative and collected: one
// write is out at a time, whatever became durable meanwhile goes into the next, and messages of one
// commit share one.
//
// A message over its caller's rate or bytes is held, and nothing is read, until there is room
// (quota.h): that slows a producer without losing anything.
//
// What closes the stream: credentials that do not allow it, its producer or its boundaries
// (authority.h; a rejected boundary would use up the sequence of what cannot be mended), a frame
// that does not parse (INVALID_ARGUMENT with its number), a gap or a stale epoch (the model's
// status), an end record that does not match (DATA_LOSS), no end record (ABORTED), acks that nobody
// reads, a stream or a boundary too many, a quota or a queue that stays full (RESOURCE_EXHAUSTED),
// a drain (UNAVAILABLE). Before it closes, everything accepted is waited for and acked.
//
// Threading: gRPC's reactions, the model's callbacks and alarms meet under one mutex; the model is
//   never called with it held.
// Ownership: keeps itself until OnDone; the model's callbacks share it.
// Bounds: StreamLimits. Beyond unacked_bytes or unacked_messages nothing is read, so that HTTP/2
//   flow control holds the producer; a message that met a full queue is tried again, nothing is
//   read meanwhile. A producer of rejected messages alone is slowed to one each rejected_pause, so
//   that it takes little time from predictions.
#pragma once

#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/edge.h"

namespace engram::server {

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StartLearnStream(
    const Edge& edge, grpc::CallbackServerContext* context);

}  // namespace engram::server
