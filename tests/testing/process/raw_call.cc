#include "tests/testing/process/raw_call.h"

#include <vector>

#include "absl/time/clock.h"
#include "grpcpp/impl/codegen/client_unary_call.h"
#include "grpcpp/impl/codegen/rpc_method.h"
#include "grpcpp/support/slice.h"

namespace engram::testing {

using grpc::internal::RpcMethod;

grpc::ByteBuffer ToBuffer(absl::string_view bytes) {
  const grpc::Slice slice(bytes.data(), bytes.size());
  return grpc::ByteBuffer(&slice, 1);
}

std::string FromBuffer(const grpc::ByteBuffer& buffer) {
  std::vector<grpc::Slice> slices;
  std::string out;
  if (!buffer.Dump(&slices).ok()) return out;
  for (const grpc::Slice& slice : slices) {
    out.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return out;
}

RawReply CallRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method,
                 absl::string_view body, absl::Duration deadline) {
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + deadline));
  const RpcMethod rpc(method.c_str(), RpcMethod::NORMAL_RPC, channel);
  grpc::ByteBuffer reply;
  RawReply out;
  out.status = grpc::internal::BlockingUnaryCall<grpc::ByteBuffer, grpc::ByteBuffer>(
      channel.get(), rpc, &context, ToBuffer(body), &reply);
  if (out.status.ok()) out.body = FromBuffer(reply);
  return out;
}

std::unique_ptr<RawStream> OpenRawStream(const std::shared_ptr<grpc::Channel>& channel,
                                         const char* method, grpc::ClientContext* context) {
  const RpcMethod rpc(method, RpcMethod::BIDI_STREAMING, channel);
  return std::unique_ptr<RawStream>(
      grpc::internal::ClientReaderWriterFactory<grpc::ByteBuffer, grpc::ByteBuffer>::Create(
          channel.get(), rpc, context));
}

}  // namespace engram::testing
