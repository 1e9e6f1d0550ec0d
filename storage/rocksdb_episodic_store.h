// The EpisodicStore on RocksDB. Key: model uid, memory, sequence, revision; value: payload, sealed.
// Private to this room; see episodic_store.h for the contract.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "storage/episodic_store.h"
#include "storage/rocksdb_engine.h"

namespace engram::storage {

class RocksDbEpisodicStore : public EpisodicStore {
 public:
  explicit RocksDbEpisodicStore(RocksDbEngine* engine) : engine_(engine) {}

  absl::Status Put(ModelUid model,
                   absl::Span<const std::pair<ExemplarKey, std::string>> payloads) override;
  absl::StatusOr<std::vector<std::string>> Read(ModelUid model,
                                                absl::Span<const ExemplarKey> keys) const override;
  absl::StatusOr<std::vector<ExemplarKey>> Keys(ModelUid model) const override;
  absl::StatusOr<int64_t> Sweep(ModelUid model, std::vector<ExemplarKey> keep) override;
  absl::Status RemoveAll(ModelUid model) override;

 private:
  RocksDbEngine* const engine_;
};

}  // namespace engram::storage
