// One HTTP request and its reply, as what lies behind the listener sees them: no socket, no
// CivetWeb.
//
// Threading: a request belongs to the worker that answers it.
// Ownership: the views of a request live until its reply is returned.
// Failure: ReadBody: RESOURCE_EXHAUSTED beyond kHttpBodyBytesMax or what all calls may hold,
//   DEADLINE_EXCEEDED when the body ends before its length, or nothing comes for the listener's
//   patience.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace engram::server {

// Of a body that is read as a whole.
inline constexpr size_t kHttpBodyBytesMax = 16 << 20;
// Of the listener: calls at once, and what all of them hold: bodies, what these are read into, and
// replies, until they are sent.
inline constexpr int kHttpCallsMax = 18;
inline constexpr int64_t kHttpBytesMax = 128 << 20;

struct HttpRequest {
  absl::string_view verb;   // "GET", "POST", ...
  absl::string_view path;   // percent-decoded
  absl::string_view query;  // as it came, without '?'
  // nullopt: no such header.
  std::function<absl::optional<absl::string_view>(const char* name)> header;
  // The next piece of the body into `into`; 0 at its end.
  std::function<absl::StatusOr<size_t>(char* into, size_t bytes_max)> read;
  // Memory of the call, out of what all calls may hold together; less than 0 gives back, and so
  // does the end of the call. RESOURCE_EXHAUSTED, and nothing is taken.
  std::function<absl::Status(int64_t bytes)> reserve = [](int64_t) { return absl::OkStatus(); };
};

struct HttpReply {
  int code = 200;
  std::string type = "application/json";
  std::string body;
  std::string cache = "no-store";  // Cache-Control
  std::vector<std::pair<std::string, std::string>> headers;
  // What the call holds until the reply is sent.
  std::shared_ptr<void> held;
};

// Reserves what it reads.
absl::StatusOr<std::string> ReadBody(const HttpRequest& request);

// What JSON may take once it is read, beside its text: "{}," are three characters, and may be a
// message of a hundred bytes and more.
int64_t JsonBytes(absl::string_view json);

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
