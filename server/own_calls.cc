#include "server/own_calls.h"

#include <future>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/rpc/status.pb.h"
#include "server/byte_buffer_messages.h"
#include "server/errors.h"
#include "server/rest_routes.h"
#include "server/steady_alarm.h"

namespace engram::server {
namespace {

constexpr absl::Duration kRefusalPatience = absl::Seconds(10);
constexpr std::chrono::milliseconds kTokensSettle{100};

absl::Status FromGrpc(const grpc::Status& status) {
  absl::Status made(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return made;
  for (const auto& detail : rich.details()) {
    made.SetPayload(detail.type_url(), absl::Cord(detail.value()));
  }
  return made;
}

}  // namespace

OwnCalls::OwnCalls(std::shared_ptr<grpc::Channel> channel, const Authority* authority)
    : authority_(authority), stub_(std::move(channel)) {}

absl::Status OwnCalls::Admit(Rpc rpc, absl::string_view authorization) const {
  if (authority_ == nullptr) return absl::OkStatus();
  const absl::StatusOr<Identity> caller = authority_->Identify(authorization);
  if (caller.ok() && caller->role >= RowOf(rpc).role) return absl::OkStatus();
  const absl::Status refusal =
      Call(rpc, authorization, *NewRequest(rpc), NewReply(rpc).get(), kRefusalPatience);
  return refusal.ok() ? NotYet("credentials: they changed just now; send it again", kTokensSettle)
                      : refusal;
}

absl::Status OwnCalls::Call(Rpc rpc, absl::string_view authorization,
                            const google::protobuf::Message& request,
                            google::protobuf::Message* reply, absl::Duration patience) const {
  grpc::ClientContext context;
  context.set_deadline(SteadyIn(patience));
  if (!authorization.empty()) context.AddMetadata("authorization", std::string(authorization));
  const grpc::ByteBuffer bytes = ToBytes(request);
  grpc::ByteBuffer answer;
  std::promise<grpc::Status> outcome;
  stub_.UnaryCall(&context, absl::StrCat("/", RowOf(rpc).name), grpc::StubOptions(), &bytes,
                  &answer,
                  [&outcome](grpc::Status status) { outcome.set_value(std::move(status)); });
  const grpc::Status status = outcome.get_future().get();
  if (!status.ok()) return FromGrpc(status);
  return ParseMessage(answer, reply) ? absl::OkStatus()
                                     : absl::InternalError("own call: a reply that does not parse");
}

}  // namespace engram::server
