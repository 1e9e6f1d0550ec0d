#include "server/rest_json.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "google/protobuf/util/json_util.h"
#include "server/errors.h"

namespace engram::server {

absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto printed = google::protobuf::util::MessageToJsonString(message, &json, options);
  if (printed.ok()) return json;
  return absl::InternalError(absl::StrCat("reply: no JSON: ", std::string(printed.message())));
}

absl::Status FromJson(absl::string_view json, google::protobuf::Message* message) {
  if (absl::StripAsciiWhitespace(json).empty()) {
    message->Clear();
    return absl::OkStatus();
  }
  const auto read = google::protobuf::util::JsonStringToMessage(
      google::protobuf::StringPiece(json.data(), json.size()), message);
  if (read.ok()) return absl::OkStatus();
  return BadField("body", absl::StrCat("is no ", message->GetDescriptor()->name(), ": ",
                                       Echo(std::string(read.message()))));
}

absl::Status CheckBodyType(const HttpRequest& request, absl::string_view type) {
  const auto header = request.header("Content-Type");
  const absl::string_view given = header.value_or("");
  const absl::string_view bare = absl::StripAsciiWhitespace(given.substr(0, given.find(';')));
  if (absl::EqualsIgnoreCase(bare, type)) return absl::OkStatus();
  return BadField("Content-Type", absl::StrCat("expected ", type, ", got \"", Echo(given), "\""));
}

google::rpc::ErrorInfo ErrorInfoOf(const absl::Status& status) {
  google::rpc::ErrorInfo reason;
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.ErrorInfo");
  if (!payload.has_value() || !reason.ParseFromString(std::string(*payload))) reason.Clear();
  return reason;
}

absl::string_view AuthorizationOf(const HttpRequest& request) {
  return request.header("Authorization").value_or("");
}

}  // namespace engram::server
