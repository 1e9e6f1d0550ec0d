#include "tests/testing/server_edge/http_exchange.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstdlib>

#include "absl/time/clock.h"

namespace engram::testing {
namespace {

// -1 when nothing listens.
int Connect(const std::string& address) {
  const size_t colon = address.rfind(':');
  sockaddr_in where{};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<uint16_t>(std::atoi(address.c_str() + colon + 1)));
  inet_pton(AF_INET, address.substr(0, colon).c_str(), &where.sin_addr);
  const int made = socket(AF_INET, SOCK_STREAM, 0);
  if (connect(made, reinterpret_cast<const sockaddr*>(&where), sizeof(where)) == 0) return made;
  close(made);
  return -1;
}

}  // namespace

std::string HttpExchange(const std::string& address, const std::string& request) {
  return PausedExchange(address, request, absl::ZeroDuration(), "");
}

std::string PausedExchange(const std::string& address, const std::string& request,
                           absl::Duration pause, const std::string& rest) {
  const int connection = Connect(address);
  std::string reply;
  if (connection < 0) return reply;
  send(connection, request.data(), request.size(), MSG_NOSIGNAL);
  absl::SleepFor(pause);
  send(connection, rest.data(), rest.size(), MSG_NOSIGNAL);
  char chunk[4096];
  for (ssize_t got; (got = recv(connection, chunk, sizeof(chunk), 0)) > 0;) {
    reply.append(chunk, static_cast<size_t>(got));
  }
  close(connection);
  return reply;
}

SilentConnection::SilentConnection(const std::string& address) : socket_(Connect(address)) {
  send(socket_, "GET /met", 8, MSG_NOSIGNAL);
}

SilentConnection::~SilentConnection() { close(socket_); }

}  // namespace engram::testing
