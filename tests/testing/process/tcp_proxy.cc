#include "tests/testing/process/tcp_proxy.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/base/check.h"
#include "tests/testing/process/loopback.h"

namespace engram::testing {
namespace {

constexpr size_t kWaitingMax = 256 << 10;
constexpr size_t kReadMax = 64 << 10;
// How much of a second's bytes a throttled connection may pass on at once.
constexpr int64_t kThrottleSteps = 100;

void Prepare(int socket) {
  const int on = 1;
  setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  fcntl(socket, F_SETFL, fcntl(socket, F_GETFL) | O_NONBLOCK);
}

// -1 when nobody listens there.
int Connect(int port) {
  const int made = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const sockaddr_in address = Loopback(port);
  if (connect(made, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) {
    Prepare(made);
    return made;
  }
  close(made);
  return -1;
}

void CloseSocket(int socket, TcpProxy::Cut how) {
  if (how == TcpProxy::Cut::kReset) {
    const linger now{1, 0};
    setsockopt(socket, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  }
  close(socket);
}

}  // namespace

absl::StatusOr<std::unique_ptr<TcpProxy>> TcpProxy::Start() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in address = Loopback(0);
  socklen_t length = sizeof(address);
  if (listener < 0 ||
      bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener, 128) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    const absl::Status status = absl::InternalError(absl::StrCat("listen: ", strerror(errno)));
    if (listener >= 0) close(listener);
    return status;
  }
  const int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  return std::unique_ptr<TcpProxy>(
      new TcpProxy(listener, wake, absl::StrCat("127.0.0.1:", ntohs(address.sin_port))));
}

TcpProxy::TcpProxy(int listener, int wake, std::string address)
    : listener_(listener), wake_(wake), address_(std::move(address)) {
  thread_ = std::thread([this] { Run(); });
}

TcpProxy::~TcpProxy() {
  {
    base::MutexLock lock(&mutex_);
    stop_ = true;
  }
  Wake();
  thread_.join();
  CutAll(Cut::kReset);
  close(listener_);
  close(wake_);
}

void TcpProxy::Wake() {
  const uint64_t one = 1;
  ENGRAM_CHECK(write(wake_, &one, sizeof(one)) == sizeof(one));
}

void TcpProxy::SetTarget(const std::string& address) {
  int port = 0;
  if (!address.empty()) {
    ENGRAM_CHECK(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port));
  }
  base::MutexLock lock(&mutex_);
  target_port_ = port;
}

void TcpProxy::SetWeather(const Weather& weather) {
  {
    base::MutexLock lock(&mutex_);
    weather_ = weather;
  }
  Wake();
}

void TcpProxy::CutNewConnectionsAfter(Way way, int64_t bytes, Cut how) {
  base::MutexLock lock(&mutex_);
  cut_way_ = way;
  cut_bytes_ = bytes;
  cut_how_ = how;
}

void TcpProxy::LetNewConnectionsLive() {
  base::MutexLock lock(&mutex_);
  cut_way_.reset();
}

void TcpProxy::CutBeforeNextReply(Cut how) {
  base::MutexLock lock(&mutex_);
  before_reply_ = how;
}

void TcpProxy::LetRepliesPass() {
  base::MutexLock lock(&mutex_);
  before_reply_.reset();
}

bool TcpProxy::WaitsForReply() const {
  base::MutexLock lock(&mutex_);
  return before_reply_.has_value();
}

void TcpProxy::CutAll(Cut how) {
  {
    base::MutexLock lock(&mutex_);
    for (auto& connection : connections_) {
      connection->how = how;
      End(connection.get(), true);
    }
    for (const int socket : half_open_) CloseSocket(socket, how);
    half_open_.clear();
    connections_.clear();
  }
  // A socket that is being polled ends only when the poll does.
  Wake();
}

void TcpProxy::LeaveHalfOpen(Way ended) {
  {
    base::MutexLock lock(&mutex_);
    for (auto& connection : connections_) {
      if (connection->over) continue;
      connection->over = true;
      ++counts_.cuts;
      close(ended == Way::kUp ? connection->server : connection->client);
      half_open_.push_back(ended == Way::kUp ? connection->client : connection->server);
    }
    connections_.clear();
  }
  Wake();
}

TcpProxy::Counts TcpProxy::counts() const {
  base::MutexLock lock(&mutex_);
  return counts_;
}

void TcpProxy::Run() {
  std::vector<pollfd> polled;
  std::vector<int> readable;
  while (true) {
    absl::Time next;
    {
      base::MutexLock lock(&mutex_);
      if (stop_) return;
      Turn(readable);
      next = NextTurn();
      polled.assign(1, {wake_, POLLIN, 0});
      for (const int socket : Listened()) polled.push_back({socket, POLLIN, 0});
    }
    const absl::Duration pause = std::max(absl::ZeroDuration(), next - absl::Now());
    const auto wait_ms = next == absl::InfiniteFuture()
                             ? int64_t{-1}
                             : absl::ToInt64Milliseconds(absl::Ceil(pause, absl::Milliseconds(1)));
    poll(polled.data(), polled.size(), static_cast<int>(wait_ms));
    uint64_t ignored = 0;
    (void)!read(wake_, &ignored, sizeof(ignored));
    readable.clear();
    for (const pollfd& entry : polled) {
      if (entry.revents != 0) readable.push_back(entry.fd);
    }
  }
}

void TcpProxy::Turn(const std::vector<int>& readable) {
  if (weather_.blackhole) return;
  const auto ready = [&readable](int socket) {
    return std::find(readable.begin(), readable.end(), socket) != readable.end();
  };
  if (ready(listener_)) Accept();
  for (auto& connection : connections_) {
    if (ready(connection->client)) Read(connection.get(), Way::kUp);
    if (!connection->over && ready(connection->server)) Read(connection.get(), Way::kDown);
    if (!connection->over) Write(connection.get(), Way::kUp);
    if (!connection->over) Write(connection.get(), Way::kDown);
    if (!connection->over && connection->up.shut && connection->down.shut) {
      End(connection.get(), false);
    }
  }
  connections_.erase(std::remove_if(connections_.begin(), connections_.end(),
                                    [](const auto& connection) { return connection->over; }),
                     connections_.end());
}

void TcpProxy::Accept() {
  while (true) {
    const int client = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) return;
    const int server = target_port_ == 0 ? -1 : Connect(target_port_);
    if (server < 0) {
      close(client);
      continue;
    }
    Prepare(client);
    auto connection = std::make_unique<Connection>();
    connection->client = connection->up.from = connection->down.to = client;
    connection->server = connection->up.to = connection->down.from = server;
    if (cut_way_.has_value()) {
      (*cut_way_ == Way::kUp ? connection->up : connection->down).limit = cut_bytes_;
      connection->how = cut_how_;
    }
    ++counts_.connections;
    connections_.push_back(std::move(connection));
  }
}

void TcpProxy::Read(Connection* connection, Way way) {
  Pipe& pipe = way == Way::kUp ? connection->up : connection->down;
  if (pipe.ended || pipe.cutting || pipe.waiting >= kWaitingMax) return;
  char buffer[kReadMax];
  const ssize_t got = read(pipe.from, buffer, sizeof(buffer));
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    connection->how = Cut::kReset;
    return End(connection, false);
  }
  if (got == 0) {
    pipe.ended = true;
    return;
  }
  const absl::string_view passing =
      UpToTheCut(connection, way, absl::string_view(buffer, static_cast<size_t>(got)));
  if (passing.empty()) return;
  pipe.taken += static_cast<int64_t>(passing.size());
  pipe.waiting += passing.size();
  pipe.pieces.push_back({absl::Now() + weather_.delay, std::string(passing)});
  (way == Way::kUp ? counts_.bytes_up : counts_.bytes_down) += static_cast<int64_t>(passing.size());
}

absl::string_view TcpProxy::UpToTheCut(Connection* connection, Way way, absl::string_view bytes) {
  Pipe& pipe = way == Way::kUp ? connection->up : connection->down;
  if (way == Way::kDown) {
    const absl::optional<size_t> reply = pipe.replies.Find(bytes);
    if (reply.has_value() && before_reply_.has_value()) {
      connection->how = *before_reply_;
      before_reply_.reset();
      ++counts_.replies_withheld;
      pipe.cutting = true;
      return bytes.substr(0, *reply);
    }
  }
  const auto all = static_cast<int64_t>(bytes.size());
  if (pipe.limit < 0 || pipe.taken + all <= pipe.limit) return bytes;
  pipe.cutting = true;
  return bytes.substr(0, static_cast<size_t>(pipe.limit - pipe.taken));
}

void TcpProxy::Write(Connection* connection, Way way) {
  Pipe& pipe = way == Way::kUp ? connection->up : connection->down;
  while (!pipe.pieces.empty()) {
    const absl::Time now = absl::Now();
    Piece& piece = pipe.pieces.front();
    if (piece.due > now || pipe.not_before > now) return;
    size_t most = piece.bytes.size();
    const int64_t rate = weather_.bytes_per_second;
    if (weather_.chunk_bytes > 0) most = std::min<size_t>(most, weather_.chunk_bytes);
    if (rate > 0) most = std::min<size_t>(most, std::max<int64_t>(1, rate / kThrottleSteps));
    const ssize_t put = send(pipe.to, piece.bytes.data(), most, MSG_NOSIGNAL);
    if (put < 0) {
      if (errno == EAGAIN || errno == EINTR) {
        pipe.not_before = now + absl::Milliseconds(1);
        return;
      }
      connection->how = Cut::kReset;
      return End(connection, false);
    }
    if (rate > 0) pipe.not_before = now + absl::Seconds(static_cast<double>(put) / rate);
    pipe.waiting -= static_cast<size_t>(put);
    piece.bytes.erase(0, static_cast<size_t>(put));
    if (piece.bytes.empty()) pipe.pieces.pop_front();
  }
  if (pipe.cutting) return End(connection, true);
  if (pipe.ended && !pipe.shut) {
    shutdown(pipe.to, SHUT_WR);
    pipe.shut = true;
  }
}

void TcpProxy::End(Connection* connection, bool cut) {
  if (connection->over) return;
  connection->over = true;
  if (cut) ++counts_.cuts;
  CloseSocket(connection->client, connection->how);
  CloseSocket(connection->server, connection->how);
}

absl::Time TcpProxy::NextTurn() const {
  absl::Time next = absl::InfiniteFuture();
  if (weather_.blackhole) return next;
  for (const auto& connection : connections_) {
    for (const Pipe* pipe : {&connection->up, &connection->down}) {
      if (pipe->pieces.empty()) continue;
      next = std::min(next, std::max(pipe->pieces.front().due, pipe->not_before));
    }
  }
  return next;
}

std::vector<int> TcpProxy::Listened() const {
  if (weather_.blackhole) return {};
  std::vector<int> sockets = {listener_};
  for (const auto& connection : connections_) {
    for (const Pipe* pipe : {&connection->up, &connection->down}) {
      if (pipe->ended || pipe->cutting || pipe->waiting >= kWaitingMax) continue;
      sockets.push_back(pipe->from);
    }
  }
  return sockets;
}

}  // namespace engram::testing
