// How many bytes and how much time a model's log holds up to some of its sequences: enough to find
// where retention may cut without reading the log. One position about every `kIndexStepBytes`.
//
// Threading: none of its own. Bounds: 24 bytes a position; 10 GiB of log are 10 240 positions.
#pragma once

#include <cstdint>
#include <deque>

#include "absl/types/optional.h"
#include "storage/types.h"

namespace engram::storage {

constexpr int64_t kIndexStepBytes = 1 << 20;

struct LogPosition {
  Sequence sequence = 0;
  int64_t bytes = 0;    // payload bytes of records 1 .. sequence
  int64_t time_ms = 0;  // commit time of record `sequence`; never falls along a log
};

// What retention keeps: a cut after position p must leave `bytes_min` of the log and no record
// younger than `time_ms_max`.
struct CutLimits {
  Sequence sequence_max = 0;
  int64_t bytes_max = 0;    // of p
  int64_t time_ms_max = 0;  // of p
  bool Allows(const LogPosition& position) const {
    return position.sequence <= sequence_max && position.bytes <= bytes_max &&
           position.time_ms <= time_ms_max;
  }
};

class LogIndex {
 public:
  // Starts over: nothing but the trim mark is known.
  void Reset(const LogPosition& mark);
  // Positions come in order.
  void Append(const LogPosition& position);
  // Forgets positions up to and including the new mark.
  void TrimTo(const LogPosition& mark);

  const LogPosition& mark() const { return mark_; }
  const LogPosition& last() const { return positions_.empty() ? mark_ : positions_.back(); }
  // True when `position` is far enough behind the last one to be worth a row.
  bool Wants(const LogPosition& position) const {
    return position.bytes - last().bytes >= kIndexStepBytes;
  }
  // The last position at or below `sequence`, at least the mark.
  LogPosition Before(Sequence sequence) const;
  // The last position that the limits allow, at least the mark.
  LogPosition LastAllowed(const CutLimits& limits) const;

 private:
  LogPosition mark_;
  std::deque<LogPosition> positions_;
};

}  // namespace engram::storage
