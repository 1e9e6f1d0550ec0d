// One HTTP request and its reply, as what lies behind the listener sees them: no socket, no
// CivetWeb.
//
// Threading: a request belongs to the worker that answers it.
// Ownership: the views of a request live until its reply is returned.
// Failure: ReadBody: RESOURCE_EXHAUSTED beyond `bytes_max`, DEADLINE_EXCEEDED when the body ends
// before
//   its length, or nothing comes for the listener's patience.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace engram::server {

struct HttpRequest {
  absl::string_view verb;   // "GET", "POST", ...
  absl::string_view path;   // percent-decoded
  absl::string_view query;  // as it came, without '?'
  // nullopt: no such header.
  std::function<absl::optional<absl::string_view>(const char* name)> header;
  // The next piece of the body into `into`; 0 at its end.
  std::function<absl::StatusOr<size_t>(char* into, size_t bytes_max)> read;
};

struct HttpReply {
  int code = 200;
  std::string type = "application/json";
  std::string body;
  std::string cache = "no-store";  // Cache-Control
  std::vector<std::pair<std::string, std::string>> headers;
};

absl::StatusOr<std::string> ReadBody(const HttpRequest& request, size_t bytes_max);

// The value of ?name=, percent-decoded; nullopt without one.
absl::optional<std::string> QueryValue(absl::string_view query, absl::string_view name);

// 400 for INVALID_ARGUMENT, 404 for NOT_FOUND ..., the mapping of google.rpc.Code; but 405 for
// UNIMPLEMENTED, which here is a verb that a path does not take.
int HttpCodeOf(absl::StatusCode code);
// "Bad Request" for 400 ...
absl::string_view HttpReason(int code);

// google.rpc.Status as JSON, with WWW-Authenticate and Retry-After where they belong.
HttpReply ErrorReply(const absl::Status& status);

}  // namespace engram::server
