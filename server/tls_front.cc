#include "server/tls_front.h"

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

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/clock.h"
#include "server/logging.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr int kThreads = 16;
constexpr int kBacklog = 64;
constexpr size_t kPieceBytes = 16 << 10;
constexpr absl::Duration kHandshakePatience = absl::Seconds(2);
constexpr absl::Duration kIdlePatience = absl::Seconds(10);

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

// One connection: non-blocking on both sides, so that neither can hold up the other.
class Relay {
 public:
  Relay(const Socket& client, SSL* tls, int stop) : client_(client), tls_(tls), stop_(stop) {}

  // Inside nobody hears of a client before the handshake.
  void Run(int inner_port) {
    if (!ShakeHands()) return;
    inner_ = ConnectInside(inner_port);
    if (!inner_.open()) return;
    while (true) {
      client_events_ = 0;
      inner_events_ = 0;
      const bool moved_in = MoveIn();
      const bool moved = MoveOut() || moved_in;
      if (over_ && to_client_.empty()) break;
      if (!moved && !Wait(kIdlePatience)) break;
    }
    SSL_shutdown(tls_);
  }

 private:
  bool ShakeHands() {
    const absl::Duration end = SteadyNow() + kHandshakePatience;
    while (true) {
      client_events_ = 0;
      const int done = SSL_accept(tls_);
      if (done == 1) return true;
      if (!WaitsForClient(done) || !Wait(end - SteadyNow())) return false;
    }
  }

  // Whether what TLS wants is another event of the client's socket; notes it.
  bool WaitsForClient(int outcome) {
    const int error = SSL_get_error(tls_, outcome);
    if (error == SSL_ERROR_WANT_READ) client_events_ |= POLLIN;
    if (error == SSL_ERROR_WANT_WRITE) client_events_ |= POLLOUT;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return true;
    ERR_clear_error();
    return false;
  }

  // Client to inside; whether anything moved.
  bool MoveIn() {
    if (client_closed_) return false;
    if (to_inner_.empty()) {
      const int got = SSL_read(tls_, to_inner_.bytes.data(), kPieceBytes);
      if (got <= 0) {
        if (WaitsForClient(got)) return false;
        client_closed_ = true;
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
    if (sent < 0) client_closed_ = true;
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
    const int sent = SSL_write(tls_, &to_client_.bytes[to_client_.begin],
                               static_cast<int>(to_client_.end - to_client_.begin));
    if (sent > 0) {
      to_client_.begin += static_cast<size_t>(sent);
      return true;
    }
    if (WaitsForClient(sent)) return false;
    over_ = true;
    to_client_.begin = to_client_.end;
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
    const int ready = poll(watched, 3, static_cast<int>(absl::ToInt64Milliseconds(patience)) + 1);
    return ready > 0 && watched[2].revents == 0;
  }

  const Socket& client_;
  SSL* const tls_;
  Socket inner_;
  const int stop_;
  Piece to_inner_;
  Piece to_client_;
  short client_events_ = 0;
  short inner_events_ = 0;
  bool client_closed_ = false;
  bool over_ = false;
};

class OpenSslFront final : public TlsFront {
 public:
  OpenSslFront(Socket listener, const v1::Tls& tls, int inner_port)
      : listener_(std::move(listener)),
        stop_(eventfd(0, EFD_CLOEXEC)),
        tls_(tls),
        inner_port_(inner_port),
        context_(SSL_CTX_new(TLS_server_method())) {
    ENGRAM_CHECK(stop_.open() && context_ != nullptr);
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    SSL_CTX_set_mode(context_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE);
    SSL_CTX_set_cert_cb(context_.get(), &OpenSslFront::UseFiles, this);
    for (int i = 0; i < kThreads; ++i) threads_.emplace_back([this] { AcceptUntilStopped(); });
  }
  ~OpenSslFront() override {
    eventfd_write(stop_.number(), 1);
    for (std::thread& thread : threads_) thread.join();
  }

  int port() const override { return BoundPort(listener_); }

 private:
  static int UseFiles(SSL* connection, void* self) {
    const v1::Tls& tls = static_cast<OpenSslFront*>(self)->tls_;
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
    const std::unique_ptr<SSL, Release> tls(SSL_new(context_.get()));
    if (tls == nullptr || SSL_set_fd(tls.get(), client.number()) != 1) return;
    Relay(client, tls.get(), stop_.number()).Run(inner_port_);
    ERR_clear_error();
  }

  const Socket listener_;
  const Socket stop_;
  const v1::Tls tls_;
  const int inner_port_;
  const std::unique_ptr<SSL_CTX, Release> context_;
  std::vector<std::thread> threads_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<TlsFront>> TlsFront::Start(const std::string& host, int port,
                                                          const v1::Tls& tls, int inner_port) {
  ENGRAM_ASSIGN_OR_RETURN(Socket listener, Listen(host, port));
  return std::make_unique<OpenSslFront>(std::move(listener), tls, inner_port);
}

}  // namespace engram::server
