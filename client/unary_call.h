// One unary call with deadline and repeats; private to the client library.
//
// Threading: safe from any thread. Ownership: borrows everything for the length of the call.
// Failure: the last try's status. Bounds: `deadline` over all tries.
#pragma once

#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/connection.h"
#include "client/retry.h"
#include "client/status.h"

namespace engram::client {

enum class Repeat {
  // Executing twice equals once.
  kAlways,
  // Only when the server says, by RetryInfo, that nothing was done.
  kWhenAsked,
};

// Waits before the next try. False when there is no further try: attempts or time are used up.
bool WaitForRetry(const RetryOptions& options, const absl::Status& status, int tries_made,
                  absl::Time deadline, Backoff* backoff);

template <typename Response, typename Invoke>
absl::StatusOr<Response> UnaryCall(const Connection& connection, Repeat repeat,
                                   absl::Duration deadline_after, const Invoke& invoke) {
  const absl::Time deadline = absl::Now() + deadline_after;
  Backoff backoff(connection.options().retry);
  for (int tries = 1;; ++tries) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(deadline));
    connection.Prepare(&context);
    Response response;
    absl::Status status = FromGrpcStatus(invoke(&context, &response));
    if (status.ok()) return response;
    if (!IsRetryable(status, repeat == Repeat::kAlways) ||
        !WaitForRetry(connection.options().retry, status, tries, deadline, &backoff)) {
      return status;
    }
  }
}

}  // namespace engram::client
