// A witness outside of RocksDB of how far the database was durable: a write-ahead log that is gone
// or was cut at a record boundary opens without complaint, and only something beside it can tell.
//
// The file has two slots that are written in turn, so that a torn write leaves the other.
//
// Threading: none of its own.
// Failure: DATA_LOSS when the file is missing or neither slot is whole; UNAVAILABLE for I/O errors.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

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
  // Durable when this returns OK.
  absl::Status Advance(uint64_t value);

 private:
  explicit HighWater(int file) : file_(file) {}
  absl::Status Recover();

  const int file_;
  uint64_t turn_ = 0;
  uint64_t value_ = 0;
};

}  // namespace engram::storage
