#include "server/rest_gateway.h"

#include <memory>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "server/errors.h"
#include "server/rest_json.h"
#include "server/rest_openapi.h"
#include "server/rest_routes.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

using google::protobuf::Message;

constexpr size_t kBodyBytesMax = 16 << 20;
constexpr absl::Duration kCallPatience = absl::Minutes(1);
// The server's own caps end them earlier.
constexpr absl::Duration kLongPatience = absl::Minutes(15);

absl::Duration PatienceOf(Rpc rpc) {
  const bool lasts = rpc == Rpc::kWaitApplied || rpc == Rpc::kErase || rpc == Rpc::kBlame;
  return lasts ? kLongPatience : kCallPatience;
}

const google::protobuf::MethodDescriptor& MethodOf(Rpc rpc) {
  const auto* method = google::protobuf::DescriptorPool::generated_pool()->FindMethodByName(
      absl::StrReplaceAll(RowOf(rpc).name, {{"/", "."}}));
  ENGRAM_CHECK(method != nullptr);
  return *method;
}

std::unique_ptr<Message> Empty(const google::protobuf::Descriptor& type) {
  return absl::WrapUnique(
      google::protobuf::MessageFactory::generated_factory()->GetPrototype(&type)->New());
}

// The path says what it says, whatever the body does.
void SetFields(const RestMatch& match, Message* request) {
  for (const auto& [name, value] : match.fields) {
    const auto* field = request->GetDescriptor()->FindFieldByName(name);
    ENGRAM_CHECK(field != nullptr);
    request->GetReflection()->SetString(request, field, value);
  }
}

}  // namespace

HttpReply RestGateway::Answer(const HttpRequest& request) const {
  absl::StatusOr<HttpReply> reply = Called(request);
  return reply.ok() ? *std::move(reply) : ErrorReply(reply.status());
}

absl::StatusOr<HttpReply> RestGateway::Called(const HttpRequest& request) const {
  if (request.path == "/v1/openapi.json" && request.verb == "GET") {
    HttpReply document;
    document.body = OpenApiDocument();
    return document;
  }
  ENGRAM_ASSIGN_OR_RETURN(const RestMatch match, MatchRoute(request.verb, request.path));
  const Rpc rpc = match.route->rpc;
  if (rpc == Rpc::kLearnBatch) return learn_.Answer(request, match.fields.front().second);
  const auto& method = MethodOf(rpc);
  const std::unique_ptr<Message> question = Empty(*method.input_type());
  const std::unique_ptr<Message> answer = Empty(*method.output_type());
  if (request.verb != "GET" && request.verb != "DELETE") {
    ENGRAM_RETURN_IF_ERROR(CheckBodyType(request, "application/json"));
    ENGRAM_ASSIGN_OR_RETURN(const std::string body, ReadBody(request, kBodyBytesMax));
    ENGRAM_RETURN_IF_ERROR(FromJson(body, question.get()));
  }
  SetFields(match, question.get());
  if (rpc == Rpc::kMarkBoundary) {
    ENGRAM_RETURN_IF_ERROR(
        learn_.MarkBoundary(AuthorizationOf(request), question.get(), answer.get()));
  } else {
    ENGRAM_RETURN_IF_ERROR(
        calls_->Call(rpc, AuthorizationOf(request), *question, answer.get(), PatienceOf(rpc)));
  }
  HttpReply reply;
  ENGRAM_ASSIGN_OR_RETURN(reply.body, ToJson(*answer));
  return reply;
}

}  // namespace engram::server
