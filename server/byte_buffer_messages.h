// Messages in and out of gRPC's byte buffers. Services take raw buffers and parse them here,
// because gRPC's own answer to bytes that do not parse is INTERNAL with an empty text on a unary
// call, and what looks like a clean end of stream on a stream.
//
// Threading: free functions without state.
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "grpcpp/support/byte_buffer.h"

namespace engram::server {

// False when the bytes are not a message of that type. `message` is overwritten; one that is reused
// keeps its memory.
bool ParseMessage(const grpc::ByteBuffer& bytes, google::protobuf::MessageLite* message);

// ParseMessage, as INVALID_ARGUMENT "request is not a valid PredictRequest message (12 bytes)".
absl::Status ParseRequest(const grpc::ByteBuffer& bytes, google::protobuf::Message* request);

// INVALID_ARGUMENT "head.kind: unknown value 99" for an enum value that this build does not know,
// anywhere in the message. By reflection: for small messages, not for examples.
absl::Status CheckEnums(const google::protobuf::Message& message);

grpc::ByteBuffer ToBytes(const google::protobuf::MessageLite& message);

// zlib's CRC-32 of the bytes, continuing from `crc`.
uint32_t ExtendCrc32(uint32_t crc, const grpc::ByteBuffer& bytes);

}  // namespace engram::server
