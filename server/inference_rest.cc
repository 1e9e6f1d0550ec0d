#include "server/inference_rest.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "inference/grpc_service.pb.h"
#include "server/errors.h"
#include "server/inference_json.h"
#include "server/rest_json.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr size_t kInferBytesMax = 16 << 20;
constexpr absl::Duration kInferPatience = absl::Minutes(1);
constexpr char kHeaderLength[] = "Inference-Header-Content-Length";

absl::Status CheckVerb(const HttpRequest& request, absl::string_view verb) {
  if (request.verb == verb) return absl::OkStatus();
  return absl::UnimplementedError(absl::StrCat(Echo(request.verb), ": this path takes ", verb));
}

absl::Status NoSuchPath(const HttpRequest& request) {
  return absl::NotFoundError(absl::StrCat("no such path: \"", Echo(request.path), "\""));
}

// A compressed body would be inflated whole before any limit looks at it.
absl::Status CheckPlain(const HttpRequest& request) {
  const auto encoding = request.header("Content-Encoding");
  if (!encoding.has_value() || *encoding == "identity") return absl::OkStatus();
  return BadField("Content-Encoding",
                  absl::StrCat("send the body as it is, got \"", Echo(*encoding), "\""));
}

absl::StatusOr<absl::optional<size_t>> JsonBytes(const HttpRequest& request) {
  const auto header = request.header(kHeaderLength);
  if (!header.has_value()) return absl::nullopt;
  uint64_t bytes = 0;
  if (absl::SimpleAtoi(*header, &bytes)) return static_cast<size_t>(bytes);
  return BadField(kHeaderLength,
                  absl::StrCat("must be a number of bytes, got \"", Echo(*header), "\""));
}

}  // namespace

HttpReply InferenceRest::Answer(const HttpRequest& request) const {
  std::vector<std::string> path = absl::StrSplit(request.path, '/');
  // "/v2/": the first two segments are "" and "v2".
  path.erase(path.begin(), path.begin() + std::min<size_t>(2, path.size()));
  absl::StatusOr<HttpReply> reply = Route(request, path);
  if (reply.ok()) return *std::move(reply);
  HttpReply error = ErrorReply(reply.status());
  error.body = PrintInferError(reply.status().message());
  return error;
}

absl::StatusOr<HttpReply> InferenceRest::Route(const HttpRequest& request,
                                               const std::vector<std::string>& path) const {
  if (path.empty()) {
    return Get<inference::ServerMetadataResponse>(request, Rpc::kServerMetadata,
                                                  inference::ServerMetadataRequest());
  }
  if (path == std::vector<std::string>{"health", "live"}) {
    return Get<inference::ServerLiveResponse>(request, Rpc::kServerLive,
                                              inference::ServerLiveRequest());
  }
  if (path == std::vector<std::string>{"health", "ready"}) {
    return Get<inference::ServerReadyResponse>(request, Rpc::kServerReady,
                                               inference::ServerReadyRequest());
  }
  if (path == std::vector<std::string>{"repository", "index"}) return Index(request);
  if (path.size() < 2 || path[0] != "models") return NoSuchPath(request);
  if (path.size() == 2 && path[1] == "stats") return OfModel(request, {}, "stats");
  Subject subject{path[1], ""};
  const bool versioned = path.size() >= 4 && path[2] == "versions";
  if (versioned) subject.version = path[3];
  const size_t named = versioned ? 4 : 2;
  // An empty name or version would stand for something else behind the path.
  if (subject.name.empty() || (versioned && subject.version.empty()) || path.size() > named + 1) {
    return NoSuchPath(request);
  }
  return OfModel(request, subject, path.size() == named ? "" : path[named]);
}

absl::StatusOr<HttpReply> InferenceRest::OfModel(const HttpRequest& request, const Subject& subject,
                                                 const std::string& action) const {
  const auto named = [&subject](auto message) {
    message.set_name(subject.name);
    message.set_version(subject.version);
    return message;
  };
  if (action == "infer") return Infer(request, subject);
  if (action.empty()) {
    return Get<inference::ModelMetadataResponse>(request, Rpc::kModelMetadata,
                                                 named(inference::ModelMetadataRequest()));
  }
  if (action == "ready") {
    return Get<inference::ModelReadyResponse>(request, Rpc::kModelReady,
                                              named(inference::ModelReadyRequest()));
  }
  if (action == "config") {
    return Get<inference::ModelConfigResponse>(request, Rpc::kModelConfig,
                                               named(inference::ModelConfigRequest()));
  }
  if (action == "stats") {
    return Get<inference::ModelStatisticsResponse>(request, Rpc::kModelStatistics,
                                                   named(inference::ModelStatisticsRequest()));
  }
  return NoSuchPath(request);
}

namespace {

std::string BodyOf(const google::protobuf::Message& response) { return PrintPlainJson(response); }
// As Triton prints it: the configuration itself.
std::string BodyOf(const inference::ModelConfigResponse& response) {
  return PrintPlainJson(response.config());
}

int CodeOf(const google::protobuf::Message&) { return 200; }
int CodeOf(const inference::ServerReadyResponse& response) { return response.ready() ? 200 : 503; }
int CodeOf(const inference::ModelReadyResponse& response) { return response.ready() ? 200 : 503; }

}  // namespace

template <typename Response, typename Request>
absl::StatusOr<HttpReply> InferenceRest::Get(const HttpRequest& http, Rpc rpc,
                                             const Request& request) const {
  ENGRAM_RETURN_IF_ERROR(CheckVerb(http, "GET"));
  Response response;
  ENGRAM_RETURN_IF_ERROR(
      calls_->Call(rpc, AuthorizationOf(http), request, &response, kInferPatience));
  HttpReply reply;
  reply.code = CodeOf(response);
  reply.body = BodyOf(response);
  return reply;
}

absl::StatusOr<HttpReply> InferenceRest::Index(const HttpRequest& request) const {
  ENGRAM_RETURN_IF_ERROR(CheckVerb(request, "POST"));
  ENGRAM_RETURN_IF_ERROR(CheckPlain(request));
  ENGRAM_ASSIGN_OR_RETURN(const std::string body, ReadBody(request, kInferBytesMax));
  inference::RepositoryIndexRequest question;
  ENGRAM_RETURN_IF_ERROR(FromJson(body, &question));
  inference::RepositoryIndexResponse response;
  ENGRAM_RETURN_IF_ERROR(calls_->Call(Rpc::kRepositoryIndex, AuthorizationOf(request), question,
                                      &response, kInferPatience));
  HttpReply reply;
  const auto print = [](std::string* out, const auto& model) { *out += PrintPlainJson(model); };
  reply.body = absl::StrCat("[", absl::StrJoin(response.models(), ",", print), "]");
  return reply;
}

absl::StatusOr<HttpReply> InferenceRest::Infer(const HttpRequest& request,
                                               const Subject& subject) const {
  ENGRAM_RETURN_IF_ERROR(CheckVerb(request, "POST"));
  ENGRAM_RETURN_IF_ERROR(CheckPlain(request));
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<size_t> json_bytes, JsonBytes(request));
  ENGRAM_ASSIGN_OR_RETURN(const std::string body, ReadBody(request, kInferBytesMax));
  ENGRAM_ASSIGN_OR_RETURN(InferQuestion question, ParseInferBody(body, json_bytes));
  question.request.set_model_name(subject.name);
  question.request.set_model_version(subject.version);
  inference::ModelInferResponse response;
  ENGRAM_RETURN_IF_ERROR(calls_->Call(Rpc::kModelInfer, AuthorizationOf(request), question.request,
                                      &response, kInferPatience));
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
