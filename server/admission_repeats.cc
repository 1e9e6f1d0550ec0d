// What is a repeat. In a file of its own so that tests/net can link a server that takes everything
// for news, and show that its harness notices.
#include <string>

#include "server/admission.h"

namespace engram::server {

bool Admission::IsRepeat(const Producer& producer, const std::string& name,
                         uint64_t sequence) const {
  if (sequence > producer.last_sequence) return false;
  if (sequence < producer.last_sequence) return true;
  // The last message of a producer, if it was rejected, may be mended and sent again.
  if (!producer.in_flight.empty()) return producer.in_flight.back()->accepted.rejection.ok();
  const auto stored = log_->FindMessage(options_.uid, name, sequence);
  return !stored.ok() || !stored->has_value() || (*stored)->count != 0;
}

}  // namespace engram::server
