// Held-out rows: evaluated, never trained on. They outlive the log's trim and are not undone by a
// rollback. Putting the same key again is harmless: a replayed log does it.
//
// Threading: every method from any thread. Failure: as the log.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "storage/types.h"

namespace engram::storage {

struct HeldOutRow {
  std::string task;
  Sequence sequence = 0;
  std::string payload;
};

class HeldOutStore {
 public:
  virtual ~HeldOutStore() = default;

  virtual absl::Status Put(ModelUid model, absl::Span<const HeldOutRow> rows) = 0;
  virtual absl::Status Delete(ModelUid model, absl::string_view task, Sequence sequence) = 0;
  // Every row, by task and sequence. The callback returns false to stop.
  virtual absl::Status ForEach(ModelUid model,
                               const std::function<bool(HeldOutRow)>& visit) const = 0;
  virtual absl::Status RemoveAll(ModelUid model) = 0;
};

}  // namespace engram::storage
