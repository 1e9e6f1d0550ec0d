// Points in time for gRPC's alarms and deadlines that do not move when somebody sets the clock.
//
// Threading: a free function without state.
#pragma once

#include <grpc/support/time.h>

#include "absl/time/time.h"

namespace engram::server {

inline gpr_timespec SteadyIn(absl::Duration pause) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(absl::ToInt64Nanoseconds(pause), GPR_TIMESPAN));
}

}  // namespace engram::server
