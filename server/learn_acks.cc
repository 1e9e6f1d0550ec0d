#include "server/learn_acks.h"

#include <algorithm>
#include <utility>

#include "server/errors.h"
#include "storage/base/check.h"

namespace engram::server {

uint64_t LearnAcks::Add(uint64_t producer_sequence, int64_t bytes) {
  Message message;
  message.producer_sequence = producer_sequence;
  message.bytes = bytes;
  in_flight_.push_back(std::move(message));
  bytes_in_flight_ += bytes;
  return first_ticket_ + in_flight_.size() - 1;
}

void LearnAcks::RemoveLast() {
  bytes_in_flight_ -= in_flight_.back().bytes;
  in_flight_.pop_back();
}

void LearnAcks::Settle(uint64_t ticket, const absl::StatusOr<Accepted>& outcome) {
  ENGRAM_CHECK(ticket >= first_ticket_ && ticket - first_ticket_ < in_flight_.size());
  Message& message = in_flight_[ticket - first_ticket_];
  message.settled = true;
  message.outcome = outcome;
  while (!in_flight_.empty() && in_flight_.front().settled) {
    Collect();
    bytes_in_flight_ -= in_flight_.front().bytes;
    in_flight_.pop_front();
    ++first_ticket_;
  }
}

void LearnAcks::Collect() {
  const Message& message = in_flight_.front();
  failed_ = failed_ || !message.outcome.ok();
  if (failed_) return;
  ready_ = true;
  ack_.set_producer_sequence(std::max(ack_.producer_sequence(), message.producer_sequence));
  latest_taken_ = message.outcome->rejection.ok();
  rejected_in_row_ = latest_taken_ ? 0 : rejected_in_row_ + 1;
  if (message.outcome->duplicate) ack_.set_duplicates(ack_.duplicates() + 1);
  if (!latest_taken_) {
    v1::Rejection* rejection = ack_.add_rejections();
    rejection->set_producer_sequence(message.producer_sequence);
    *rejection->mutable_status() = ToRpcStatus(message.outcome->rejection);
  }
}

v1::LearnAck LearnAcks::Take() {
  ready_ = false;
  v1::LearnAck taken = std::move(ack_);
  ack_.Clear();
  ack_.set_producer_sequence(taken.producer_sequence());
  return taken;
}

}  // namespace engram::server
