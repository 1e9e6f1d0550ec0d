// Reading a model's log from end to end, in chunks.
//
// Threading: blocks on the disk: not for a strand that serves, nor for gRPC's threads.
// Failure: what `visit` answers ends it; the log's statuses, OUT_OF_RANGE among them when the log
//   is trimmed meanwhile; DATA_LOSS for a record that is not there.
// Bounds: 4 096 records and about 16 MiB at a time.
#pragma once

#include <cstdint>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "server/model_context.h"

namespace engram::server {

constexpr uint64_t kLogEnd = UINT64_MAX;

// Visits the records from `from`, or the first that is not trimmed, to `to`, at most the durable
// end.
absl::Status ForEachRecord(const ModelContext& context, uint64_t from, uint64_t to,
                           absl::FunctionRef<absl::Status(const storage::LogRecord&)> visit);

}  // namespace engram::server
