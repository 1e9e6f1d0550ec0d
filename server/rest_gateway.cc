#include "server/rest_gateway.h"

#include <memory>

#include "google/protobuf/message.h"
#include "server/rest_json.h"
#include "server/rest_openapi.h"
#include "server/rest_routes.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using google::protobuf::Message;

// A call that changes something has a small answer, which is not refused for want of memory: the
// caller would do it again.
constexpr int64_t kSmallReplyBytes = 64 << 10;
constexpr absl::Duration kCallPatience = absl::Minutes(1);
// The server's own caps end them earlier.
constexpr absl::Duration kLongPatience = absl::Minutes(15);

absl::Duration PatienceOf(Rpc rpc) {
  const bool lasts = rpc == Rpc::kWaitApplied || rpc == Rpc::kErase || rpc == Rpc::kBlame;
  return lasts ? kLongPatience : kCallPatience;
}

absl::Status ReadQuestion(const HttpRequest& request, Message* question) {
  ENGRAM_RETURN_IF_ERROR(CheckBodyType(request, "application/json"));
  ENGRAM_ASSIGN_OR_RETURN(const std::string body, ReadBody(request));
  ENGRAM_RETURN_IF_ERROR(request.reserve(JsonBytes(body)));
  return FromJson(body, question);
}

absl::StatusOr<HttpReply> PrintReply(const HttpRequest& request, const Message& answer) {
  const auto bytes = static_cast<int64_t>(answer.ByteSizeLong());
  if (bytes > kSmallReplyBytes) {
    ENGRAM_RETURN_IF_ERROR(request.reserve(kJsonPerMessageByte * bytes));
  }
  HttpReply reply;
  ENGRAM_ASSIGN_OR_RETURN(reply.body, ToJson(answer));
  return reply;
}

}  // namespace

HttpReply RestGateway::Answer(const HttpRequest& request) const {
  absl::StatusOr<HttpReply> reply = Called(request);
  return reply.ok() ? *std::move(reply) : ErrorReply(reply.status());
}

absl::StatusOr<HttpReply> RestGateway::Called(const HttpRequest& request) const {
  if (request.path == kOpenApiPath) {
    if (request.verb != "GET") return absl::UnimplementedError("verb: the document takes GET");
    HttpReply document;
    document.body = OpenApiDocument();
    return document;
  }
  ENGRAM_ASSIGN_OR_RETURN(const RestMatch match,
                          MatchRoute(kRestRoutes, request.verb, request.path));
  const Rpc rpc = match.route->rpc;
  ENGRAM_RETURN_IF_ERROR(calls_->Admit(rpc, AuthorizationOf(request)));
  if (rpc == Rpc::kLearnBatch) return learn_.Answer(request, match.fields.front().second);
  const std::unique_ptr<Message> question = NewRequest(rpc);
  const std::unique_ptr<Message> answer = NewReply(rpc);
  if (request.verb == "POST" || request.verb == "PATCH") {
    ENGRAM_RETURN_IF_ERROR(ReadQuestion(request, question.get()));
  }
  SetFields(match, question.get());
  if (rpc == Rpc::kMarkBoundary) {
    ENGRAM_RETURN_IF_ERROR(
        learn_.MarkBoundary(AuthorizationOf(request), question.get(), answer.get()));
  } else {
    ENGRAM_RETURN_IF_ERROR(
        calls_->Call(rpc, AuthorizationOf(request), *question, answer.get(), PatienceOf(rpc)));
  }
  return PrintReply(request, *answer);
}

}  // namespace engram::server
