// Calls by method name and bytes: for what typed stubs cannot say (bodies that do not parse,
// services whose stubs are not installed).
//
// Threading: any thread. Failure: the call's own status; a body is valid only when it is OK.
#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/status.h"
#include "grpcpp/support/sync_stream.h"

namespace engram::testing {

grpc::ByteBuffer ToBuffer(absl::string_view bytes);
std::string FromBuffer(const grpc::ByteBuffer& buffer);

struct RawReply {
  grpc::Status status;
  std::string body;
};
// `method` as "/package.Service/Method".
RawReply CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                 absl::string_view body, absl::Duration deadline = absl::Seconds(20));

using RawStream = grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>;
// `method` outlives the stream: a string literal.
std::unique_ptr<RawStream> OpenRawStream(const std::shared_ptr<grpc::Channel>& channel,
                                         const char* method, grpc::ClientContext* context);

}  // namespace engram::testing
