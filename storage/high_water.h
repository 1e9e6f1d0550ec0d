// A witness outside of RocksDB of how far the database was durable: a write-ahead log that is gone
// or was cut at a record boundary opens without complaint, and only something beside it can tell.
//
// It also marks how far RocksDB's MANIFEST went, with a checksum: a MANIFEST whose last edits are
// gone opens without complaint too, and the tables that they named are forgotten.
//
// The file has two slots that are written in turn, so that a torn write leaves the other. A slot of
// a store that was written before there were marks of the MANIFEST has none: number 0.
//
// Threading: none of its own.
// Failure: DATA_LOSS when the file is missing or neither slot is whole; UNAVAILABLE for I/O errors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/manifest_mark.h"

namespace engram::storage {

class HighWater {
 public:
  // The file of a new store, at 0, durable.
  static absl::Status Create(const std::string& folder);
  static absl::StatusOr<std::unique_ptr<HighWater>> Open(const std::string& folder);
  ~HighWater();
  HighWater(const HighWater&) = delete;
  HighWater& operator=(const HighWater&) = delete;

  uint64_t value() const { return value_; }
  const ManifestMark& manifest() const { return manifest_; }
  // Durable when this returns OK.
  absl::Status Advance(uint64_t value, const ManifestMark& manifest);

 private:
  explicit HighWater(int file) : file_(file) {}
  absl::Status Recover();

  const int file_;
  uint64_t turn_ = 0;
  uint64_t value_ = 0;
  ManifestMark manifest_;
};

}  // namespace engram::storage
