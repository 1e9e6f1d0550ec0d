// OpenAPI 3.0 of the REST paths, made from the table of routes and the messages' own descriptors:
// it cannot say anything else than what is served.
//
// Threading: a free function.
#pragma once

#include <string>

namespace engram::server {

// The document as JSON.
std::string OpenApiDocument();

}  // namespace engram::server
