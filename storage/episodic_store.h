// Payloads of exemplars: immutable, keyed (model, memory, sequence, revision). A payload lives
// while a kept checkpoint names it; the live memory needs none beyond the last checkpoint, because
// replaying the log rebuilds it.
//
// Threading: every method from any thread. Failure: as the log; DATA_LOSS names the key.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "storage/types.h"

namespace engram::storage {

class EpisodicStore {
 public:
  virtual ~EpisodicStore() = default;

  // Durable at the latest with the next synced write (the checkpoint row that names them).
  virtual absl::Status Put(ModelUid model,
                           absl::Span<const std::pair<ExemplarKey, std::string>> payloads) = 0;
  // One payload a key, in the order of the keys. DATA_LOSS naming the first key that is missing.
  virtual absl::StatusOr<std::vector<std::string>> Read(
      ModelUid model, absl::Span<const ExemplarKey> keys) const = 0;
  virtual absl::StatusOr<std::vector<ExemplarKey>> Keys(ModelUid model) const = 0;
  // Deletes every payload that is not in `keep` (any order). Returns how many.
  virtual absl::StatusOr<int64_t> Sweep(ModelUid model, std::vector<ExemplarKey> keep) = 0;
  virtual absl::Status RemoveAll(ModelUid model) = 0;
};

}  // namespace engram::storage
