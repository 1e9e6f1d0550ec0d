// The stored form of a checkpoint's row: format version, fields, members, sealed. Members keep
// their order (an episodic memory's slots) and take 3 to 8 bytes each: differences of sequences,
// memory and revision only where they change.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/checkpoint_store.h"

namespace engram::storage {

std::string EncodeCheckpointRow(absl::string_view key, const CheckpointRow& row);

// FAILED_PRECONDITION for a newer format, DATA_LOSS when the seal does not match. `id` is in the
// key and comes back in the row.
absl::StatusOr<CheckpointRow> DecodeCheckpointRow(absl::string_view key, absl::string_view id,
                                                  absl::string_view value);

}  // namespace engram::storage
