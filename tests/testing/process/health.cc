#include "tests/testing/process/health.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "grpcpp/impl/codegen/rpc_method.h"
#include "tests/testing/process/raw_call.h"

namespace engram::testing {
namespace {

constexpr char kStatusTag = 0x08;
constexpr char kServiceTag = 0x0a;

std::string Request(absl::string_view service) {
  if (service.empty()) return "";
  return absl::StrCat(std::string(1, kServiceTag),
                      std::string(1, static_cast<char>(service.size())), service);
}

ServingStatus Parse(absl::string_view body) {
  if (body.size() < 2 || body[0] != kStatusTag) return ServingStatus::kUnknown;
  return static_cast<ServingStatus>(body[1]);
}

}  // namespace

absl::StatusOr<ServingStatus> CheckHealth(const std::shared_ptr<grpc::Channel>& channel,
                                          absl::string_view service) {
  const RawReply reply =
      CallRaw(channel, "/grpc.health.v1.Health/Check", Request(service), absl::Seconds(2));
  if (!reply.status.ok()) {
    return absl::Status(static_cast<absl::StatusCode>(reply.status.error_code()),
                        reply.status.error_message());
  }
  return Parse(reply.body);
}

HealthWatch::HealthWatch(std::shared_ptr<grpc::Channel> channel, absl::string_view service)
    : channel_(std::move(channel)) {
  context_.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(60)));
  const grpc::internal::RpcMethod rpc("/grpc.health.v1.Health/Watch",
                                      grpc::internal::RpcMethod::SERVER_STREAMING, channel_);
  reader_.reset(grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(
      channel_.get(), rpc, &context_, ToBuffer(Request(service))));
}

HealthWatch::~HealthWatch() {
  context_.TryCancel();
  grpc::ByteBuffer unread;
  while (reader_->Read(&unread)) {
  }
  reader_->Finish();
}

bool HealthWatch::Next(ServingStatus* status) {
  grpc::ByteBuffer message;
  if (!reader_->Read(&message)) return false;
  *status = Parse(FromBuffer(message));
  return true;
}

}  // namespace engram::testing
