// One call to the server's own gRPC listener over a new connection, as a stranger would come in.
//
// Threading: what MakeListenerCheck returns, from one thread at a time.
// Failure: UNAVAILABLE or DEADLINE_EXCEEDED when nobody answered.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "engram/v1/config.pb.h"
#include "server/quota.h"

namespace engram::server {

// Asks the health service of `address`, whose answer does not matter; `token`, unless empty, goes
// with it. Where a client certificate is asked for and config.self_probe has none, it only looks
// whether the listener accepts and answers in TLS. The server's certificate is not judged: it need
// not name this machine's loopback.
std::function<absl::Status(absl::Duration patience)> MakeListenerCheck(
    const std::string& address, const v1::ServerConfig& config, const std::string& token);

// `check`, but a listener that refused somebody at limits.connections meanwhile has answered: who
// is full is not deaf, and leaving would only cut those who are in.
std::function<absl::Status(absl::Duration patience)> FullIsAnAnswer(
    std::function<absl::Status(absl::Duration)> check, const QuotaLedger* quotas);

}  // namespace engram::server
