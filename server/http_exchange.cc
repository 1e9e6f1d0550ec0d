#include "server/http_exchange.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "google/protobuf/util/json_util.h"
#include "google/rpc/status.pb.h"
#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr size_t kPieceBytes = 64 << 10;

struct CodeRow {
  absl::StatusCode status;
  int code;
  absl::string_view reason;
};

constexpr CodeRow kCodeRows[] = {
    {absl::StatusCode::kOk, 200, "OK"},
    {absl::StatusCode::kInvalidArgument, 400, "Bad Request"},
    {absl::StatusCode::kFailedPrecondition, 400, "Bad Request"},
    {absl::StatusCode::kOutOfRange, 400, "Bad Request"},
    {absl::StatusCode::kUnauthenticated, 401, "Unauthorized"},
    {absl::StatusCode::kPermissionDenied, 403, "Forbidden"},
    {absl::StatusCode::kNotFound, 404, "Not Found"},
    {absl::StatusCode::kAborted, 409, "Conflict"},
    {absl::StatusCode::kAlreadyExists, 409, "Conflict"},
    {absl::StatusCode::kResourceExhausted, 429, "Too Many Requests"},
    {absl::StatusCode::kCancelled, 499, "Client Closed Request"},
    {absl::StatusCode::kUnimplemented, 405, "Method Not Allowed"},
    {absl::StatusCode::kUnavailable, 503, "Service Unavailable"},
    {absl::StatusCode::kDeadlineExceeded, 504, "Gateway Timeout"},
};

int HexDigit(char digit) {
  if (digit >= '0' && digit <= '9') return digit - '0';
  if (digit >= 'a' && digit <= 'f') return digit - 'a' + 10;
  if (digit >= 'A' && digit <= 'F') return digit - 'A' + 10;
  return -1;
}

std::string PercentDecoded(absl::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    const int high = text[i] == '%' && i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(text[i + 2]) : -1;
    if (low >= 0) {
      decoded.push_back(static_cast<char>(high * 16 + low));
      i += 2;
    } else {
      decoded.push_back(text[i] == '+' ? ' ' : text[i]);
    }
  }
  return decoded;
}

std::string StatusJson(const absl::Status& status) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  google::rpc::Status rich = ToRpcStatus(status);
  std::string json;
  if (google::protobuf::util::MessageToJsonString(rich, &json, options).ok()) return json;
  // Details of a type that this program does not know.
  rich.clear_details();
  json.clear();
  const auto printed = google::protobuf::util::MessageToJsonString(rich, &json, options);
  return printed.ok() ? json : "{}";
}

}  // namespace

absl::StatusOr<std::string> ReadBody(const HttpRequest& request) {
  std::string body;
  ENGRAM_RETURN_IF_ERROR(request.reserve(kPieceBytes));
  for (;;) {
    const size_t had = body.size();
    // One byte more than allowed tells a body that is too long from one that just fits.
    body.resize(had + std::min(kPieceBytes, kHttpBodyBytesMax + 1 - had));
    ENGRAM_ASSIGN_OR_RETURN(const size_t got, request.read(&body[had], body.size() - had));
    body.resize(had + got);
    if (got == 0) return body;
    // A string that grows is copied: for a while there are two of it.
    ENGRAM_RETURN_IF_ERROR(request.reserve(static_cast<int64_t>(2 * got)));
    if (body.size() > kHttpBodyBytesMax) {
      const std::string text =
          absl::StrCat("body: at most ", kHttpBodyBytesMax, " bytes; send it in parts");
      return OverLimit("body", text, std::chrono::milliseconds(0));
    }
  }
}

int64_t JsonBytes(absl::string_view json) {
  // A number becomes a float in a list that grows, in the message and as it is sent on.
  constexpr int64_t kValueBytes = 32, kNestedBytes = 512;
  int64_t values = 0, nested = 0;
  for (const char each : json) {
    values += each == ',' ? 1 : 0;
    nested += each == '{' || each == '[' ? 1 : 0;
  }
  return kValueBytes * values + kNestedBytes * nested;
}

absl::optional<std::string> QueryValue(absl::string_view query, absl::string_view name) {
  for (const absl::string_view pair : absl::StrSplit(query, '&')) {
    const size_t equals = std::min(pair.find('='), pair.size());
    if (PercentDecoded(pair.substr(0, equals)) != name) continue;
    return PercentDecoded(equals == pair.size() ? "" : pair.substr(equals + 1));
  }
  return absl::nullopt;
}

int HttpCodeOf(absl::StatusCode code) {
  for (const CodeRow& row : kCodeRows) {
    if (row.status == code) return row.code;
  }
  return 500;
}

absl::string_view HttpReason(int code) {
  for (const CodeRow& row : kCodeRows) {
    if (row.code == code) return row.reason;
  }
  return code == 304 ? "Not Modified" : "Internal Server Error";
}

HttpReply ErrorReply(const absl::Status& status) {
  HttpReply reply;
  reply.code = HttpCodeOf(status.code());
  reply.body = StatusJson(status);
  if (reply.code == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  const std::chrono::milliseconds delay = RetryDelay(status);
  if (delay.count() > 0) {
    reply.headers.emplace_back("Retry-After", absl::StrCat((delay.count() + 999) / 1000));
  }
  return reply;
}

}  // namespace engram::server
