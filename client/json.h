// Messages as JSON for scripts: field names as in the proto files, numbers as numbers.
//
// Unlike protobuf's own JSON form, 64-bit integers stay numbers (jq can add them) and names keep
// their underscores. Enums are their names, bytes are base64. A scalar without presence is always
// there; an optional one or a message only when set; a label is the bare number or string.
//
// Threading: free functions, safe from any thread.
// Ownership: the result is a copy.
// Failure: none.
// Bounds: none.
#pragma once

#include "google/protobuf/message.h"
#include "nlohmann/json.hpp"

namespace engram::client {

// Keeps the order in which fields were declared.
using Json = nlohmann::ordered_json;

Json ToJson(const google::protobuf::Message& message);

}  // namespace engram::client
