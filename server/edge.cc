#include "server/edge.h"

namespace engram::server {

StreamLimits StreamLimitsOf(const v1::Limits& limits) {
  StreamLimits streams;
  streams.unacked_bytes = limits.unacked_bytes();
  streams.unacked_messages = limits.unacked_messages();
  streams.write_patience = absl::Seconds(limits.write_patience_seconds());
  return streams;
}

CallCaps CallCapsOf(const v1::Limits& limits) {
  return {absl::Seconds(limits.predict_deadline_seconds()),
          absl::Seconds(limits.checkpoint_deadline_seconds()),
          absl::Seconds(limits.wait_applied_deadline_seconds())};
}

}  // namespace engram::server
