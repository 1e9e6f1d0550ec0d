// Points in time for gRPC's alarms and deadlines that do not move when somebody sets the clock.
//
// Threading: free functions without state.
#pragma once

#include <grpc/support/time.h>

#include "absl/time/time.h"

namespace engram::server {

inline gpr_timespec SteadyIn(absl::Duration pause) {
  return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC),
                      gpr_time_from_nanos(absl::ToInt64Nanoseconds(pause), GPR_TIMESPAN));
}

// How long until a deadline of gRPC's.
inline absl::Duration SteadyUntil(gpr_timespec deadline) {
  const gpr_timespec left = gpr_time_sub(gpr_convert_clock_type(deadline, GPR_CLOCK_MONOTONIC),
                                         gpr_now(GPR_CLOCK_MONOTONIC));
  if (gpr_time_cmp(left, gpr_inf_future(GPR_TIMESPAN)) == 0) return absl::InfiniteDuration();
  return absl::Seconds(left.tv_sec) + absl::Nanoseconds(left.tv_nsec);
}

}  // namespace engram::server
