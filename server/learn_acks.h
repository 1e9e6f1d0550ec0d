// The messages of one Learn stream that are on their way into the log, and the ack they add up to.
//
// Messages may end out of order (a rejection is known at once, a commit takes a while); an ack only
// ever covers a prefix of what came.
//
// Threading: none of its own; the stream's mutex guards it.
// Failure: once a message failed, nothing behind it is acked any more.
// Bounds: the stream stops reading; one entry a message in flight.
#pragma once

#include <cstdint>
#include <deque>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/learning.pb.h"
#include "server/model_runtime.h"

namespace engram::server {

class LearnAcks {
 public:
  // A message of `bytes` goes to the model; returns its ticket.
  uint64_t Add(uint64_t producer_sequence, int64_t bytes);
  // The latest ticket was not taken after all.
  void RemoveLast();
  // It ended: durable, rejected, or failed.
  void Settle(uint64_t ticket, const absl::StatusOr<Accepted>& outcome);

  bool IsLast(uint64_t ticket) const { return ticket + 1 == first_ticket_ + in_flight_.size(); }
  size_t in_flight() const { return in_flight_.size(); }
  int64_t bytes_in_flight() const { return bytes_in_flight_; }
  int rejections_waiting() const { return ack_.rejections_size(); }
  // Of the latest messages that ended, up to the first that was not.
  int64_t rejected_in_row() const { return rejected_in_row_; }
  // The latest of these was taken.
  bool latest_taken() const { return latest_taken_; }

  // There is something to tell.
  bool ready() const { return ready_; }
  // What to tell; starts the next one.
  v1::LearnAck Take();

 private:
  struct Message {
    uint64_t producer_sequence = 0;
    int64_t bytes = 0;
    bool settled = false;
    absl::StatusOr<Accepted> outcome = Accepted();
  };

  void Collect();

  uint64_t first_ticket_ = 0;
  std::deque<Message> in_flight_;
  int64_t bytes_in_flight_ = 0;
  int64_t rejected_in_row_ = 0;
  bool latest_taken_ = false;
  bool failed_ = false;
  bool ready_ = false;
  v1::LearnAck ack_;
};

}  // namespace engram::server
