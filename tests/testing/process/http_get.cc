#include "tests/testing/process/http_get.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace engram::testing {
namespace {

// Transfer-Encoding: chunked is undone, so that a body is what the page says.
std::string Unchunk(absl::string_view body) {
  std::string out;
  while (!body.empty()) {
    const size_t line = body.find("\r\n");
    uint32_t size = 0;
    if (line == absl::string_view::npos || !absl::SimpleHexAtoi(body.substr(0, line), &size)) break;
    if (size == 0) break;
    absl::StrAppend(&out, body.substr(line + 2, size));
    body.remove_prefix(std::min(body.size(), line + 4 + size));
  }
  return out;
}

absl::StatusOr<HttpReply> ParseReply(const std::string& bytes) {
  const std::pair<std::string, std::string> parts =
      absl::StrSplit(bytes, absl::MaxSplits("\r\n\r\n", 1));
  const std::vector<std::string> words = absl::StrSplit(parts.first, absl::MaxSplits(' ', 2));
  HttpReply reply;
  if (words.size() < 2 || !absl::SimpleAtoi(words[1], &reply.code)) {
    return absl::UnavailableError(absl::StrCat("not an HTTP reply: ", bytes.substr(0, 80)));
  }
  reply.headers = parts.first;
  const bool chunked =
      absl::StrContains(absl::AsciiStrToLower(reply.headers), "transfer-encoding: chunked");
  reply.body = chunked ? Unchunk(parts.second) : parts.second;
  return reply;
}

}  // namespace

absl::StatusOr<HttpReply> HttpGet(const std::string& address, const std::string& path) {
  const std::pair<std::string, std::string> host_port = absl::StrSplit(address, ':');
  int port = 0;
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  if (!absl::SimpleAtoi(host_port.second, &port) ||
      inet_pton(AF_INET, host_port.first.c_str(), &to.sin_addr) != 1) {
    return absl::InvalidArgumentError(absl::StrCat("not an address: ", address));
  }
  to.sin_port = htons(static_cast<uint16_t>(port));
  const int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const auto closer = absl::MakeCleanup([connection] { close(connection); });
  const timeval patience = {10, 0};
  setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  if (connect(connection, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    return absl::UnavailableError(absl::StrCat(address, ": ", strerror(errno)));
  }
  const std::string request =
      absl::StrCat("GET ", path, " HTTP/1.1\r\nHost: ", address, "\r\nConnection: close\r\n\r\n");
  if (send(connection, request.data(), request.size(), MSG_NOSIGNAL) < 0) {
    return absl::UnavailableError(strerror(errno));
  }
  std::string bytes;
  char piece[16384];
  for (ssize_t got; (got = recv(connection, piece, sizeof(piece), 0)) > 0;) {
    bytes.append(piece, static_cast<size_t>(got));
  }
  return ParseReply(bytes);
}

}  // namespace engram::testing
