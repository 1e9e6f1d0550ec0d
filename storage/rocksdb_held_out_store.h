// The HeldOutStore on RocksDB. Key: model uid, task (ordered text), sequence; value: payload,
// sealed. Private to this room; see held_out_store.h for the contract.
#pragma once

#include <functional>

#include "storage/held_out_store.h"
#include "storage/rocksdb_engine.h"

namespace engram::storage {

class RocksDbHeldOutStore : public HeldOutStore {
 public:
  explicit RocksDbHeldOutStore(RocksDbEngine* engine) : engine_(engine) {}

  absl::Status Put(ModelUid model, absl::Span<const HeldOutRow> rows) override;
  absl::Status Delete(ModelUid model, absl::string_view task, Sequence sequence) override;
  absl::Status ForEach(ModelUid model, const std::function<bool(HeldOutRow)>& visit) const override;
  absl::Status RemoveAll(ModelUid model) override;

 private:
  RocksDbEngine* const engine_;
};

}  // namespace engram::storage
