// A consistent copy of a store that is in use.
//
// Staged first, beside the store: writes wait for one sync while the database says which files it
// is made of, up to where, and every tensor file that is there then is linked. What deletes a
// tensor file deletes its row first, and what makes one writes its row last, so the rows of that
// moment name files that were linked. Then, while everything goes on, the staged store is inspected
// as any store is before it opens, and its files are copied and summed. A copy shares no bytes with
// the store: a bad block of the disk is not in both.
//
// Threading: one call at a time, on a thread of its own: it blocks for as long as copying takes and
//   leaves the thread at training's priority.
// Failure: as Store::BackUp; what was staged is gone on return, or at the next open after a crash.
#pragma once

#include "absl/status/statusor.h"
#include "storage/backup/backup_manifest.h"
#include "storage/rocksdb_engine.h"
#include "storage/rocksdb_options.h"
#include "storage/store.h"

namespace engram::storage {

absl::StatusOr<BackupManifest> BackUpStore(RocksDbEngine* engine, DiskWatch* disk,
                                           const StoreOptions& options, const StoreHooks& hooks,
                                           const BackupRequest& request);

// What a backup left that a crash cut off.
absl::Status SweepBackupStaging(const std::string& folder);

}  // namespace engram::storage
