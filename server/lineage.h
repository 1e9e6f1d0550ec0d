// Which part of the log the model has learned, given its rollbacks. A rollback jumps back along the
// line that leads to its checkpoint; a later one may jump to a checkpoint on a branch that an
// earlier one left. Everything here is a pure function of the list of rollbacks.
#pragma once

#include <cstdint>
#include <vector>

#include "engram/internal/records.pb.h"

namespace engram::server {

using Rewinds = google::protobuf::RepeatedPtrField<internal::StreamState::Rewind>;

// Of the log; both ends belong to it.
struct Stretch {
  uint64_t first = 0;
  uint64_t last = 0;
};

// What a state at `end` has learned, oldest first. Rollbacks after `end` do not count.
std::vector<Stretch> LineTo(const Rewinds& rewinds, uint64_t end);

// 0 when a record at `sequence` stands, else the rollback record that undid it (the last one, if a
// later rollback had brought it back in between).
uint64_t UndoneBy(const Rewinds& rewinds, uint64_t sequence);

// TRAIN examples that the present state has learned and the state at `sequence` (that of a
// checkpoint, on this line or on another branch) has not: what a rollback to it drops. The two
// counts are those of the present state and of the one at `sequence`.
int64_t DroppedBy(const Rewinds& rewinds, int64_t train_examples_now, uint64_t sequence,
                  int64_t train_examples);

}  // namespace engram::server
