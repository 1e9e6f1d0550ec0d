// OpenAPI 3.0 of the REST paths and of the Open Inference Protocol's, made from the tables of
// routes and the messages' own descriptors: it cannot say anything else than what is served. Only
// what is read and printed by hand is described by hand: a line of learn, the tensors of infer.
//
// Threading: free functions.
#pragma once

#include <string>

namespace engram::server {

// Where it is served.
inline constexpr char kOpenApiPath[] = "/v1/openapi.json";
// The document as JSON.
std::string OpenApiDocument();

}  // namespace engram::server
