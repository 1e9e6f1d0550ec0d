// The dashboard's files (server/dashboard/), compiled into the program: a server needs no folder of
// pages beside it, and a page never meets a server of another version.
//
// They hold nothing of a model, so whoever may reach the listener may load them: a browser cannot
// send a token when it opens a page. What the page then asks for is under /v1 and needs a role.
//
// Threading: constants after the first call, which any thread may make.
// Ownership: the table and what it refers to live as long as the program.
// Failure: none.
// Bounds: the page test (tests/dashboard) holds all of them together below 500 kB.
#pragma once

#include <vector>

#include "absl/strings/string_view.h"

namespace engram::server {

// What a browser may do with the page: load, run and call what this server serves, nothing else.
inline constexpr absl::string_view kDashboardPolicy =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "object-src 'none'";

struct DashboardFile {
  absl::string_view path;  // of the URL: "/", "/dashboard/main.js"
  absl::string_view content_type;
  absl::string_view bytes;
  absl::string_view etag;  // quotes included; changes with the bytes
};

const std::vector<DashboardFile>& DashboardFiles();

}  // namespace engram::server
