#include "server/http_front.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "server/clock.h"
#include "server/logging.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr int kBacklog = 64;
constexpr size_t kPieceBytes = 16 << 10;
constexpr absl::Duration kHandshakePatience = absl::Seconds(2);
constexpr absl::Duration kHeadPatience = absl::Seconds(1);
constexpr absl::Duration kLingerPatience = absl::Seconds(1);
constexpr size_t kLingerBytesMax = 4 << 20;
constexpr absl::Duration kUnreadPatience = absl::Seconds(10);
constexpr absl::string_view kHeadEnd = "\r\n\r\n";

class Socket {
 public:
  explicit Socket(int number = -1) : number_(number) {}
  Socket(Socket&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Socket() {
    if (number_ >= 0) close(number_);
  }
  int number() const { return number_; }
  bool open() const { return number_ >= 0; }

 private:
  int number_;
};

struct Release {
  void operator()(SSL* connection) const { SSL_free(connection); }
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
};

absl::StatusOr<Socket> Listen(const std::string& host, int port) {
  addrinfo wanted = {};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE;
  addrinfo* found = nullptr;
  if (getaddrinfo(host.c_str(), absl::StrCat(port).c_str(), &wanted, &found) != 0) {
    return absl::UnavailableError(absl::StrCat("HTTP: no such address: ", host));
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  Socket socket_made(
      socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, found->ai_protocol));
  const int one = 1;
  setsockopt(socket_made.number(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  if (!socket_made.open() ||
      bind(socket_made.number(), found->ai_addr, found->ai_addrlen) != 0 ||
      listen(socket_made.number(), kBacklog) != 0) {
    return absl::UnavailableError(
        absl::StrCat("HTTP: cannot listen on ", host, ":", port, ": ", strerror(errno)));
  }
  return socket_made;
}

int BoundPort(const Socket& listener) {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  getsockname(listener.number(), reinterpret_cast<sockaddr*>(&address), &length);
  // The port lies at the same place in both families.
  return ntohs(reinterpret_cast<const sockaddr_in*>(&address)->sin_port);
}

Socket ConnectInside(int port) {
  Socket inner(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in to = {};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(inner.number(), reinterpret_cast<const sockaddr*>(&to), sizeof(to)) != 0) {
    return Socket();
  }
  return inner;
}

// Bytes on their way in one direction.
struct Piece {
  std::array<char, kPieceBytes> bytes;
  size_t begin = 0;
  size_t end = 0;
  bool empty() const { return begin == end; }
};

// The client's side of a connection, not blocking. Each verb: the number of bytes; 0 when the
// connection is over; kNotYet before an event of the client's socket, which it adds to `events`.
constexpr int kNotYet = -1;

class Wire {
 public:
  virtual ~Wire() = default;
  virtual int ShakeHands(short* events) = 0;
  virtual int Read(char* into, size_t bytes_max, short* events) = 0;
  virtual int Write(const char* from, size_t bytes, short* events) = 0;
  virtual void SayGoodbye() = 0;
};

class PlainWire final : public Wire {
 public:
  explicit PlainWire(int client) : client_(client) {}
  int ShakeHands(short*) override { return 1; }
  int Read(char* into, size_t bytes_max, short* events) override {
    return Outcome(recv(client_, into, bytes_max, MSG_DONTWAIT), POLLIN, events);
  }
  int Write(const char* from, size_t bytes, short* events) override {
    return Outcome(send(client_, from, bytes, MSG_DONTWAIT | MSG_NOSIGNAL), POLLOUT, events);
  }
  void SayGoodbye() override {}

 private:
  static int Outcome(ssize_t moved, short event, short* events) {
    if (moved >= 0) return static_cast<int>(moved);
    if (errno != EAGAIN && errno != EINTR) return 0;
    *events = static_cast<short>(*events | event);
    return kNotYet;
  }
  const int client_;
};

class TlsWire final : public Wire {
 public:
  explicit TlsWire(SSL* tls) : tls_(tls) {}
  ~TlsWire() override { ERR_clear_error(); }
  int ShakeHands(short* events) override { return Outcome(SSL_accept(tls_), events); }
  int Read(char* into, size_t bytes_max, short* events) override {
    return Outcome(SSL_read(tls_, into, static_cast<int>(bytes_max)), events);
  }
  int Write(const char* from, size_t bytes, short* events) override {
    return Outcome(SSL_write(tls_, from, static_cast<int>(bytes)), events);
  }
  void SayGoodbye() override { SSL_shutdown(tls_); }

 private:
  int Outcome(int moved, short* events) {
    if (moved > 0) return moved;
    const int error = SSL_get_error(tls_, moved);
    ERR_clear_error();
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE) return 0;
    const short event = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
    *events = static_cast<short>(*events | event);
    return kNotYet;
  }
  SSL* const tls_;
};

// One connection: non-blocking on both sides, so that neither can hold up the other.
class Relay {
 public:
  Relay(const Socket& client, Wire* wire, int stop) : client_(client), wire_(*wire), stop_(stop) {}

  void Run(int inner_port) {
    if (!ShakeHands() || !ReadHead()) return;
    inner_ = ConnectInside(inner_port);
    if (!inner_.open()) return;
    while (true) {
      client_events_ = 0;
      inner_events_ = 0;
      const bool moved_in = MoveIn();
      const bool moved = MoveOut() || moved_in;
      if (over_ && to_client_.empty()) break;
      const absl::Duration patience =
          to_client_.empty() ? absl::InfiniteDuration() : kUnreadPatience;
      if (!moved && !Wait(patience)) return;
    }
    wire_.SayGoodbye();
    if (!client_left_) Linger();
  }

 private:
  bool ShakeHands() {
    const absl::Duration end = SteadyNow() + kHandshakePatience;
    while (true) {
      client_events_ = 0;
      const int done = wire_.ShakeHands(&client_events_);
      if (done != kNotYet) return done > 0;
      if (!Wait(end - SteadyNow())) return false;
    }
  }

  // Until the head is whole, or is too long for those inside, who say so.
  bool ReadHead() {
    const absl::Duration end = SteadyNow() + kHeadPatience;
    while (to_inner_.end < kPieceBytes) {
      client_events_ = 0;
      const int got = wire_.Read(&to_inner_.bytes[to_inner_.end], kPieceBytes - to_inner_.end,
                                 &client_events_);
      if (got == 0 || (got == kNotYet && !Wait(end - SteadyNow()))) return false;
      if (got == kNotYet) continue;
      to_inner_.end += static_cast<size_t>(got);
      const absl::string_view head(to_inner_.bytes.data(), to_inner_.end);
      if (absl::StrContains(head, kHeadEnd)) return true;
      if (SteadyNow() > end) return false;
    }
    return true;
  }

  // A connection that is closed with something unread costs the client its reply.
  void Linger() {
    shutdown(client_.number(), SHUT_WR);
    const absl::Duration end = SteadyNow() + kLingerPatience;
    inner_events_ = 0;
    client_events_ = POLLIN;
    for (size_t read = 0; read < kLingerBytesMax;) {
      const ssize_t got =
          recv(client_.number(), to_inner_.bytes.data(), kPieceBytes, MSG_DONTWAIT);
      if (got == 0 || (got < 0 && (errno != EAGAIN || !Wait(end - SteadyNow())))) return;
      if (got > 0) read += static_cast<size_t>(got);
    }
  }

  // Client to inside; whether anything moved.
  bool MoveIn() {
    if (in_closed_) return false;
    if (to_inner_.empty()) {
      const int got = wire_.Read(to_inner_.bytes.data(), kPieceBytes, &client_events_);
      if (got == kNotYet) return false;
      if (got == 0) {
        client_left_ = in_closed_ = true;
        shutdown(inner_.number(), SHUT_WR);
        return true;
      }
      to_inner_.begin = 0;
      to_inner_.end = static_cast<size_t>(got);
    }
    const ssize_t sent = send(inner_.number(), &to_inner_.bytes[to_inner_.begin],
                              to_inner_.end - to_inner_.begin, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) to_inner_.begin += static_cast<size_t>(sent);
    if (sent < 0 && errno == EAGAIN) {
      inner_events_ |= POLLOUT;
      return false;
    }
    if (sent < 0) in_closed_ = true;
    return true;
  }

  // Inside to client.
  bool MoveOut() {
    if (to_client_.empty()) {
      if (over_) return false;
      const ssize_t got =
          recv(inner_.number(), to_client_.bytes.data(), kPieceBytes, MSG_DONTWAIT);
      if (got < 0 && errno == EAGAIN) {
        inner_events_ |= POLLIN;
        return false;
      }
      over_ = got <= 0;
      to_client_.begin = 0;
      to_client_.end = over_ ? 0 : static_cast<size_t>(got);
      return true;
    }
    const int sent = wire_.Write(&to_client_.bytes[to_client_.begin],
                                 to_client_.end - to_client_.begin, &client_events_);
    if (sent == kNotYet) return false;
    client_left_ = client_left_ || sent == 0;
    over_ = over_ || sent == 0;
    to_client_.begin = sent == 0 ? to_client_.end : to_client_.begin + static_cast<size_t>(sent);
    return true;
  }

  // False when nothing comes in time, or the server leaves.
  bool Wait(absl::Duration patience) const {
    if (patience <= absl::ZeroDuration()) return false;
    pollfd watched[] = {{client_.number(), client_events_, 0},
                        {inner_.number(), inner_events_, 0},
                        {stop_, POLLIN, 0}};
    // An event nobody waits for (a hang-up of either side) must not spin.
    if (client_events_ == 0) watched[0].fd = -1;
    if (inner_events_ == 0) watched[1].fd = -1;
    const int limit_ms = patience == absl::InfiniteDuration()
                             ? -1
                             : static_cast<int>(absl::ToInt64Milliseconds(patience)) + 1;
    const int ready = poll(watched, 3, limit_ms);
    return ready > 0 && watched[2].revents == 0;
  }

  const Socket& client_;
  Wire& wire_;
  Socket inner_;
  const int stop_;
  Piece to_inner_;
  Piece to_client_;
  short client_events_ = 0;
  short inner_events_ = 0;
  bool in_closed_ = false;    // nothing more goes inside
  bool client_left_ = false;  // or cannot be reached
  bool over_ = false;  // nothing more comes from inside
};

class SocketFront final : public HttpFront {
 public:
  SocketFront(Socket listener, const HttpFrontOptions& options)
      : listener_(std::move(listener)),
        stop_(eventfd(0, EFD_CLOEXEC)),
        tls_(options.tls.value_or(v1::Tls())),
        inner_port_(options.inner_port),
        context_(options.tls.has_value() ? MakeContext() : nullptr) {
    ENGRAM_CHECK(stop_.open());
    for (int i = 0; i < options.threads; ++i) {
      threads_.emplace_back([this] { AcceptUntilStopped(); });
    }
  }
  ~SocketFront() override {
    eventfd_write(stop_.number(), 1);
    for (std::thread& thread : threads_) thread.join();
  }

  int port() const override { return BoundPort(listener_); }

 private:
  SSL_CTX* MakeContext() {
    SSL_CTX* const made = SSL_CTX_new(TLS_server_method());
    ENGRAM_CHECK(made != nullptr);
    SSL_CTX_set_min_proto_version(made, TLS1_2_VERSION);
    SSL_CTX_set_mode(made, SSL_MODE_ENABLE_PARTIAL_WRITE);
    SSL_CTX_set_cert_cb(made, &SocketFront::UseFiles, this);
    return made;
  }

  static int UseFiles(SSL* connection, void* self) {
    const v1::Tls& tls = static_cast<SocketFront*>(self)->tls_;
    const bool used =
        SSL_use_certificate_chain_file(connection, tls.certificate_file().c_str()) == 1 &&
        SSL_use_PrivateKey_file(connection, tls.key_file().c_str(), SSL_FILETYPE_PEM) == 1;
    if (!used) {
      ERR_clear_error();
      Log(LogLevel::kError, "http_certificate_unusable");
    }
    return used ? 1 : 0;
  }

  void AcceptUntilStopped() {
    while (true) {
      pollfd watched[] = {{listener_.number(), POLLIN, 0}, {stop_.number(), POLLIN, 0}};
      poll(watched, 2, -1);
      if (watched[1].revents != 0) return;
      const Socket client(
          accept4(listener_.number(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (client.open()) Serve(client);
    }
  }

  void Serve(const Socket& client) {
    if (context_ == nullptr) {
      PlainWire wire(client.number());
      return Relay(client, &wire, stop_.number()).Run(inner_port_);
    }
    const std::unique_ptr<SSL, Release> tls(SSL_new(context_.get()));
    if (tls == nullptr || SSL_set_fd(tls.get(), client.number()) != 1) return;
    TlsWire wire(tls.get());
    Relay(client, &wire, stop_.number()).Run(inner_port_);
  }

  const Socket listener_;
  const Socket stop_;
  const v1::Tls tls_;
  const int inner_port_;
  const std::unique_ptr<SSL_CTX, Release> context_;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpFront>> HttpFront::Start(const HttpFrontOptions& options) {
  ENGRAM_ASSIGN_OR_RETURN(Socket listener, Listen(options.host, options.port));
  return std::make_unique<SocketFront>(std::move(listener), options);
}

}  // namespace engram::server
