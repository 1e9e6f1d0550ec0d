#include "server/inference_rest.h"

#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "inference/grpc_service.pb.h"
#include "server/errors.h"
#include "server/inference_json.h"
#include "server/rest_json.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr absl::Duration kInferPatience = absl::Minutes(1);
constexpr char kHeaderLength[] = "Inference-Header-Content-Length";

// A compressed body would be inflated whole before any limit looks at it.
absl::Status CheckPlain(const HttpRequest& request) {
  const auto encoding = request.header("Content-Encoding");
  if (!encoding.has_value() || *encoding == "identity") return absl::OkStatus();
  return BadField("Content-Encoding",
                  absl::StrCat("send the body as it is, got \"", Echo(*encoding), "\""));
}

absl::StatusOr<absl::optional<size_t>> JsonBytesOf(const HttpRequest& request) {
  const auto header = request.header(kHeaderLength);
  if (!header.has_value()) return absl::nullopt;
  uint64_t bytes = 0;
  if (absl::SimpleAtoi(*header, &bytes)) return static_cast<size_t>(bytes);
  return BadField(kHeaderLength,
                  absl::StrCat("must be a number of bytes, got \"", Echo(*header), "\""));
}

// As Triton prints them: the configuration itself, and a bare list of models.
std::string PrintAnswer(Rpc rpc, const google::protobuf::Message& answer) {
  if (rpc == Rpc::kModelConfig) {
    return PrintPlainJson(static_cast<const inference::ModelConfigResponse&>(answer).config());
  }
  if (rpc != Rpc::kRepositoryIndex) return PrintPlainJson(answer);
  const auto& index = static_cast<const inference::RepositoryIndexResponse&>(answer);
  const auto print = [](std::string* out, const auto& model) { *out += PrintPlainJson(model); };
  return absl::StrCat("[", absl::StrJoin(index.models(), ",", print), "]");
}

int CodeOf(Rpc rpc, const google::protobuf::Message& answer) {
  const bool ready = rpc == Rpc::kServerReady
                         ? static_cast<const inference::ServerReadyResponse&>(answer).ready()
                     : rpc == Rpc::kModelReady
                         ? static_cast<const inference::ModelReadyResponse&>(answer).ready()
                         : true;
  return ready ? 200 : 503;
}

}  // namespace

HttpReply InferErrorReply(const absl::Status& status) {
  HttpReply error = ErrorReply(status);
  error.body = PrintInferError(status.message());
  return error;
}

HttpReply InferenceRest::Answer(const HttpRequest& request) const {
  absl::StatusOr<HttpReply> reply = Called(request);
  return reply.ok() ? *std::move(reply) : InferErrorReply(reply.status());
}

absl::StatusOr<HttpReply> InferenceRest::Called(const HttpRequest& request) const {
  ENGRAM_ASSIGN_OR_RETURN(const RestMatch match,
                          MatchRoute(kInferenceRoutes, request.verb, request.path));
  const Rpc rpc = match.route->rpc;
  ENGRAM_RETURN_IF_ERROR(calls_->Admit(rpc, AuthorizationOf(request)));
  if (rpc == Rpc::kModelInfer) return Infer(request, match);
  const auto question = NewRequest(rpc);
  const auto answer = NewReply(rpc);
  if (rpc == Rpc::kRepositoryIndex) {
    ENGRAM_RETURN_IF_ERROR(CheckPlain(request));
    ENGRAM_ASSIGN_OR_RETURN(const std::string body, ReadBody(request));
    ENGRAM_RETURN_IF_ERROR(request.reserve(JsonBytes(body)));
    ENGRAM_RETURN_IF_ERROR(FromJson(body, question.get()));
  }
  SetFields(match, question.get());
  ENGRAM_RETURN_IF_ERROR(
      calls_->Call(rpc, AuthorizationOf(request), *question, answer.get(), kInferPatience));
  HttpReply reply;
  reply.code = CodeOf(rpc, *answer);
  reply.body = PrintAnswer(rpc, *answer);
  return reply;
}

absl::StatusOr<HttpReply> InferenceRest::Infer(const HttpRequest& request,
                                               const RestMatch& match) const {
  ENGRAM_RETURN_IF_ERROR(CheckPlain(request));
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<size_t> json_bytes, JsonBytesOf(request));
  ENGRAM_ASSIGN_OR_RETURN(const std::string body, ReadBody(request));
  const absl::string_view text =
      absl::string_view(body).substr(0, json_bytes.value_or(body.size()));
  // Binary values are copied into the request, and with it.
  const auto binary = static_cast<int64_t>(body.size() - text.size());
  ENGRAM_RETURN_IF_ERROR(request.reserve(JsonBytes(text) + 2 * binary));
  ENGRAM_ASSIGN_OR_RETURN(InferQuestion question, ParseInferBody(body, json_bytes));
  SetFields(match, &question.request);
  inference::ModelInferResponse response;
  ENGRAM_RETURN_IF_ERROR(calls_->Call(Rpc::kModelInfer, AuthorizationOf(request), question.request,
                                      &response, kInferPatience));
  const auto bytes = static_cast<int64_t>(response.ByteSizeLong());
  ENGRAM_RETURN_IF_ERROR(request.reserve(kJsonPerMessageByte * bytes));
  InferAnswer answer = PrintInferBody(response, question.binary);
  HttpReply reply;
  reply.body = std::move(answer.body);
  if (answer.json_bytes.has_value()) {
    reply.type = "application/octet-stream";
    reply.headers.emplace_back(kHeaderLength, absl::StrCat(*answer.json_bytes));
  }
  return reply;
}

}  // namespace engram::server
