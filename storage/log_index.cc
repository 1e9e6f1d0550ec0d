#include "storage/log_index.h"

#include <algorithm>

#include "storage/base/check.h"

namespace engram::storage {

void LogIndex::Reset(const LogPosition& mark) {
  mark_ = mark;
  positions_.clear();
}

void LogIndex::Append(const LogPosition& position) {
  ENGRAM_CHECK(position.sequence > last().sequence);
  positions_.push_back(position);
}

void LogIndex::TrimTo(const LogPosition& mark) {
  mark_ = mark;
  while (!positions_.empty() && positions_.front().sequence <= mark.sequence) {
    positions_.pop_front();
  }
}

LogPosition LogIndex::Before(Sequence sequence) const {
  CutLimits limits;
  limits.sequence_max = sequence;
  limits.bytes_max = INT64_MAX;
  limits.time_ms_max = INT64_MAX;
  return LastAllowed(limits);
}

LogPosition LogIndex::LastAllowed(const CutLimits& limits) const {
  const auto first_refused =
      std::partition_point(positions_.begin(), positions_.end(),
                           [&limits](const LogPosition& p) { return limits.Allows(p); });
  return first_refused == positions_.begin() ? mark_ : *std::prev(first_refused);
}

}  // namespace engram::storage
