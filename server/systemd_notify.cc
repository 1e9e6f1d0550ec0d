#include "server/systemd_notify.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"

namespace engram::server {

void NotifySystemd(absl::string_view state) {
  const char* const path = getenv("NOTIFY_SOCKET");
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path == nullptr || (path[0] != '/' && path[0] != '@') ||
      strlen(path) >= sizeof(address.sun_path)) {
    return;
  }
  const size_t length = strlen(path);
  memcpy(address.sun_path, path, length);
  if (path[0] == '@') address.sun_path[0] = '\0';  // an abstract socket
  const int socket = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) return;
  const absl::Cleanup closer = [socket] { close(socket); };
  sendto(socket, state.data(), state.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
         reinterpret_cast<const sockaddr*>(&address),
         static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + length));
}

absl::Duration SystemdWatchdog() {
  const char* const text = getenv("WATCHDOG_USEC");
  const char* const pid = getenv("WATCHDOG_PID");
  int64_t microseconds = 0;
  int64_t whose = 0;
  if (text == nullptr || !absl::SimpleAtoi(text, &microseconds) || microseconds <= 0) {
    return absl::InfiniteDuration();
  }
  if (pid != nullptr && absl::SimpleAtoi(pid, &whose) && whose != getpid()) {
    return absl::InfiniteDuration();
  }
  return absl::Microseconds(microseconds);
}

}  // namespace engram::server
