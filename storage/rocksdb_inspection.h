// The look at a store before it is opened: everything is read through a read-only opening, so that
// a refusal leaves every byte as it was found. Opening for writing replays and deletes write-ahead
// logs, rewrites the MANIFEST and sweeps files without a row: what a damage would have shown is
// gone after it.
//
// Failure: DATA_LOSS "...; last good checkpoint: ..."; UNAVAILABLE for I/O errors.
#pragma once

#include "absl/status/status.h"
#include "storage/rocksdb_options.h"
#include "storage/store.h"

namespace engram::storage {

// Of a store that has a FORMAT; `options.now_ms` must be set. One damaged model is enough to be
// refused: its rows lie in the same database as those of all others.
absl::Status InspectStore(const StoreOptions& options, const StoreHooks& hooks);

}  // namespace engram::storage
