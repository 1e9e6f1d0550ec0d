// Who taught a model what: counts, producer by producer, the TRAIN examples that the served state
// has learned, and judges some of each with that state. Labels that disagree with what all others
// taught show as a low accuracy.
//
// The log is read twice: once to count, once to judge `judged_max` examples of each producer,
// spread evenly over those it sent. So the answer follows from log and snapshot alone, and no
// example is held.
//
// Threading: pure but for the log; blocks on the disk and predicts: for a thread that may.
// Failure: INVALID_ARGUMENT; CANCELLED once `left` says so; UNAVAILABLE when the log was trimmed
//   meanwhile; the log's statuses; INTERNAL for a snapshot without a finite output.
// Bounds: 16 MiB of log and 256 examples at a time; 65 536 names, of which the 1 000 with the most
//   examples get a row and all others share the last one.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/quarantine.pb.h"
#include "server/lineage.h"
#include "server/model_context.h"
#include "server/model_runtime.h"

namespace engram::server {

// The row of producers beyond `kBlameRows`.
constexpr absl::string_view kOtherProducers = "...";
constexpr size_t kBlameRows = 1000;

absl::Status CheckBlame(const v1::BlameRequest& request);

struct BlameSubject {
  const ModelContext* context = nullptr;
  const v1::ModelSpec* spec = nullptr;  // as created: what is held out never changes
  Served served;                        // its version is where the log is read to
  Rewinds rewinds;                      // at least those up to that version
  std::vector<uint64_t> quarantined;    // as published; ascending
};

absl::StatusOr<v1::BlameResponse> BlameProducers(const BlameSubject& subject,
                                                 const v1::BlameRequest& request,
                                                 const std::function<bool()>& left);

}  // namespace engram::server
