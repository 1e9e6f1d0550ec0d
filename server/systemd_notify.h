// Tells systemd how the server is doing: datagrams to $NOTIFY_SOCKET (sd_notify(3)). Without that
// variable nobody is told.
//
// Threading: free functions; from any thread. Failure: none; a lost datagram ends in a watchdog.
#pragma once

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace engram::server {

// "READY=1", "WATCHDOG=1", "STOPPING=1".
void NotifySystemd(absl::string_view state);

// How often systemd wants to hear WATCHDOG=1; infinite: never.
absl::Duration SystemdWatchdog();

}  // namespace engram::server
