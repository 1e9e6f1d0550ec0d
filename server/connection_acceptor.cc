#include "server/connection_acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "server/clock.h"
#include "server/logging.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr int kBacklog = 512;
// Bytes that a dead peer does not confirm: as long as a keepalive ping waits.
constexpr unsigned int kUnconfirmedMs = 10000;
constexpr absl::Duration kNoFilePause = absl::Milliseconds(50);
constexpr absl::Duration kTellPause = absl::Seconds(10);

absl::Status CannotListen(absl::string_view where, absl::string_view why) {
  return absl::UnavailableError(
      absl::StrCat("gRPC: cannot listen on ", where, ": ", why, "; port in use?"));
}

// Accepted sockets inherit these.
void SetOptions(int listener) {
  const int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  setsockopt(listener, IPPROTO_TCP, TCP_USER_TIMEOUT, &kUnconfirmedMs, sizeof(kUnconfirmedMs));
}

in_port_t* PortIn(sockaddr* address) {
  // At the same place in both families.
  return &reinterpret_cast<sockaddr_in*>(address)->sin_port;
}

int BoundPort(int listener) {
  sockaddr_storage address = {};
  socklen_t length = sizeof(address);
  getsockname(listener, reinterpret_cast<sockaddr*>(&address), &length);
  return ntohs(*PortIn(reinterpret_cast<sockaddr*>(&address)));
}

}  // namespace

ConnectionAcceptor::File& ConnectionAcceptor::File::operator=(File&& other) noexcept {
  std::swap(number_, other.number_);
  return *this;
}

ConnectionAcceptor::File::~File() {
  if (number_ >= 0) close(number_);
}

int ConnectionAcceptor::File::Release() { return std::exchange(number_, -1); }

absl::StatusOr<std::unique_ptr<ConnectionAcceptor>> ConnectionAcceptor::Listen(
    const std::string& listen, const ListenAddress& address, QuotaLedger* ledger) {
  std::unique_ptr<ConnectionAcceptor> made(new ConnectionAcceptor(ledger));
  made->poll_ = File(epoll_create1(EPOLL_CLOEXEC));
  made->stop_ = File(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!made->poll_.open() || !made->stop_.open() ||
      !made->Watch(made->stop_.number(), EPOLLIN)) {
    return CannotListen(listen, strerror(errno));
  }
  made->address_ = listen;
  if (address.host.empty()) {
    absl::string_view path = listen;
    absl::ConsumePrefix(&path, "unix:");
    absl::ConsumePrefix(&path, "//");
    ENGRAM_RETURN_IF_ERROR(made->ListenOnPath(std::string(path)));
  } else {
    ENGRAM_RETURN_IF_ERROR(made->ListenOnPort(address));
    made->address_ = absl::StrCat(listen.substr(0, listen.rfind(':')), ":",
                                  BoundPort(made->listeners_.front().number()));
  }
  return made;
}

absl::Status ConnectionAcceptor::ListenOnPath(const std::string& path) {
  sockaddr_un name = {};
  name.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(name.sun_path)) {
    return CannotListen("unix:", "a path of 1 to 107 bytes is needed");
  }
  path.copy(name.sun_path, path.size());
  // What a server that was killed left behind.
  struct stat there = {};
  if (lstat(path.c_str(), &there) == 0 && S_ISSOCK(there.st_mode)) unlink(path.c_str());
  File listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.open() ||
      bind(listener.number(), reinterpret_cast<const sockaddr*>(&name), sizeof(name)) != 0) {
    return CannotListen("unix:", strerror(errno));
  }
  path_ = path;
  return AddListener(std::move(listener));
}

// Every address of the name, all on the port of the first.
absl::Status ConnectionAcceptor::ListenOnPort(const ListenAddress& address) {
  addrinfo wanted = {};
  wanted.ai_socktype = SOCK_STREAM;
  wanted.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const std::string where = absl::StrCat(address.host, ":", address.port);
  if (getaddrinfo(address.host.c_str(), absl::StrCat(address.port).c_str(), &wanted, &found) != 0) {
    return CannotListen(where, "no such address");
  }
  const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> addresses(found, &freeaddrinfo);
  for (addrinfo* each = found; each != nullptr; each = each->ai_next) {
    File listener(socket(each->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    // A name may have addresses of a family that this machine lacks.
    if (!listener.open() && errno == EAFNOSUPPORT) continue;
    SetOptions(listener.number());
    if (!listeners_.empty()) {
      *PortIn(each->ai_addr) = htons(static_cast<uint16_t>(BoundPort(listeners_[0].number())));
    }
    if (bind(listener.number(), each->ai_addr, each->ai_addrlen) != 0) {
      if (errno == EADDRNOTAVAIL && each->ai_next != nullptr) continue;
      return CannotListen(where, strerror(errno));
    }
    ENGRAM_RETURN_IF_ERROR(AddListener(std::move(listener)));
  }
  return listeners_.empty() ? CannotListen(where, "no usable address") : absl::OkStatus();
}

absl::Status ConnectionAcceptor::AddListener(File listener) {
  if (listen(listener.number(), kBacklog) != 0) return CannotListen("it", strerror(errno));
  if (!Watch(listener.number(), EPOLLIN)) return CannotListen("it", strerror(errno));
  listeners_.push_back(std::move(listener));
  return absl::OkStatus();
}

bool ConnectionAcceptor::Watch(int number, uint32_t events) const {
  epoll_event event = {};
  event.events = events;
  event.data.fd = number;
  return epoll_ctl(poll_.number(), EPOLL_CTL_ADD, number, &event) == 0;
}

void ConnectionAcceptor::Serve(std::unique_ptr<Server> server) {
  server_ = std::move(server);
  thread_ = std::thread([this] { Run(); });
}

void ConnectionAcceptor::Stop() {
  eventfd_write(stop_.number(), 1);
  if (thread_.joinable()) thread_.join();
  open_.clear();
  listeners_.clear();
  if (!path_.empty()) unlink(path_.c_str());
  path_.clear();
}

void ConnectionAcceptor::Run() {
  std::array<epoll_event, 64> events;
  while (true) {
    const int count =
        epoll_wait(poll_.number(), events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      const int number = events[static_cast<size_t>(i)].data.fd;
      if (number == stop_.number()) return;
      const auto ended = open_.find(number);
      if (ended != open_.end()) {
        // Closing ours alone would leave it watched while gRPC still has its own.
        epoll_ctl(poll_.number(), EPOLL_CTL_DEL, number, nullptr);
        open_.erase(ended);
      } else {
        Accept(number);
      }
    }
  }
}

void ConnectionAcceptor::Accept(int listener) {
  while (true) {
    File accepted(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (accepted.open()) {
      Take(std::move(accepted), listener);
    } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
      Refuse(absl::ResourceExhaustedError(strerror(errno)));
      return absl::SleepFor(kNoFilePause);
    } else if (errno != ECONNABORTED && errno != EINTR) {
      return;
    }
  }
}

void ConnectionAcceptor::Take(File accepted, int listener) {
  absl::StatusOr<Hold> place = ledger_->HoldConnection();
  if (!place.ok()) return Refuse(place.status());
  File watched(fcntl(accepted.number(), F_DUPFD_CLOEXEC, 0));
  // No event asked for: what is always told is that the connection is over.
  if (!watched.open() || !Watch(watched.number(), 0)) {
    return Refuse(absl::ResourceExhaustedError(strerror(errno)));
  }
  const int number = watched.number();
  open_[number] = {std::move(watched), *std::move(place)};
  Server::NewConnectionParameters connection;
  connection.listener_fd = listener;
  connection.fd = accepted.Release();
  server_->HandleNewConnection(&connection);
}

// A flood is one line now and then.
void ConnectionAcceptor::Refuse(const absl::Status& reason) {
  ++refused_;
  const absl::Duration now = SystemClock()->Monotonic();
  if (now - told_ < kTellPause) return;
  told_ = now;
  Log(LogLevel::kWarning, "connections_refused", {{"count", refused_}, {"reason", reason}});
  refused_ = 0;
}

}  // namespace engram::server
