// One line of POST .../learn: {"features": [...], "label": 3 or "cat"} and optionally task, weight,
// id, subject_id, event_time_ms, split ("TRAIN" or "HELD_OUT"); the lines that `engram learn`
// reads.
//
// Threading: a free function.
// Failure: INVALID_ARGUMENT naming the field. Values and shapes are the server's to judge.
#pragma once

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engram/v1/example.pb.h"

namespace engram::server {

absl::StatusOr<v1::Example> ParseExampleLine(absl::string_view line);

}  // namespace engram::server
