#include "server/http_server.h"

#include <atomic>
#include <thread>
#include <utility>
#include <vector>

#include "CivetServer.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "server/config.h"
#include "server/errors.h"
#include "server/http_front.h"
#include "server/logging.h"
#include "server/thread_stacks.h"
#include "server/tls_files.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

// Of them, the calls of HttpPages take at most all but a few.
constexpr int kWorkers = 24;
static_assert(kHttpCallsMax <= kWorkers - 6);

absl::optional<absl::string_view> Header(mg_connection* connection, const char* name) {
  const char* value = mg_get_header(connection, name);
  if (value == nullptr) return absl::nullopt;
  return absl::string_view(value);
}

// CivetWeb says 0 at the end of a body, and also when the rest of it does not come.
class Body {
 public:
  Body(mg_connection* connection, absl::Duration patience)
      : connection_(connection),
        patience_(patience),
        length_(mg_get_request_info(connection)->content_length) {}

  absl::StatusOr<size_t> Read(char* into, size_t bytes_max) {
    if (length_ >= 0 && read_ >= length_) return 0;
    Invite();
    const int got = mg_read(connection_, into, bytes_max);
    if (got > 0) {
      read_ += got;
      return static_cast<size_t>(got);
    }
    if (got == 0 && length_ < 0) return 0;
    return absl::DeadlineExceededError(absl::StrCat(
        "body: nothing more came after ", read_, " bytes",
        length_ < 0 ? "" : absl::StrCat(" of ", length_), "; it may pause for ",
        absl::FormatDuration(patience_)));
  }

 private:
  // A client may wait to be asked for its body, and CivetWeb does not ask.
  void Invite() {
    if (invited_) return;
    invited_ = true;
    if (!absl::EqualsIgnoreCase(Header(connection_, "Expect").value_or(""), "100-continue")) return;
    constexpr absl::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";
    mg_write(connection_, kContinue.data(), kContinue.size());
  }

  mg_connection* const connection_;
  const absl::Duration patience_;
  bool invited_ = false;
  const int64_t length_;  // below 0: in chunks, or none
  int64_t read_ = 0;
};

bool Send(mg_connection* connection, const HttpReply& reply, bool with_body) {
  std::string head = absl::StrCat(
      "HTTP/1.1 ", reply.code, " ", HttpReason(reply.code), "\r\nContent-Type: ", reply.type,
      "\r\nContent-Length: ", reply.body.size(), "\r\nCache-Control: ", reply.cache, "\r\n");
  for (const auto& [name, value] : reply.headers) absl::StrAppend(&head, name, ": ", value, "\r\n");
  absl::StrAppend(&head, "Connection: close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  if (with_body) mg_write(connection, reply.body.data(), reply.body.size());
  return true;
}

// CivetWeb's own complaints, the reason of a failed start among them.
const CivetCallbacks& Callbacks() {
  static const CivetCallbacks* const callbacks = [] {
    auto* made = new CivetCallbacks();
    made->log_message = [](const mg_connection*, const char* message) {
      Log(LogLevel::kWarning, "http_server", {{"message", message}});
      return 1;
    };
    return made;
  }();
  return *callbacks;
}

// One handler for every path and verb: what is not in its table is 404, whatever CivetWeb would do
// with it.
class PagesHandler : public CivetHandler {
 public:
  PagesHandler(HttpParts parts, HttpRules rules, absl::Duration patience)
      : pages_(std::move(parts), rules), patience_(patience) {}

  bool handleGet(CivetServer*, mg_connection* connection) override { return Answer(connection); }
  bool handleHead(CivetServer*, mg_connection* connection) override { return Answer(connection); }
  bool handlePost(CivetServer*, mg_connection* connection) override { return Answer(connection); }
  bool handlePut(CivetServer*, mg_connection* connection) override { return Answer(connection); }
  bool handleDelete(CivetServer*, mg_connection* connection) override { return Answer(connection); }
  bool handlePatch(CivetServer*, mg_connection* connection) override { return Answer(connection); }
  bool handleOptions(CivetServer*, mg_connection* connection) override {
    return Answer(connection);
  }

 private:
  bool Answer(mg_connection* connection) const {
    const mg_request_info* const asked = mg_get_request_info(connection);
    Body body(connection, patience_);
    HttpRequest request;
    request.verb = asked->request_method;
    request.path = asked->local_uri == nullptr ? "" : asked->local_uri;
    request.query = asked->query_string == nullptr ? "" : asked->query_string;
    request.header = [connection](const char* name) { return Header(connection, name); };
    request.read = [&body](char* into, size_t bytes_max) { return body.Read(into, bytes_max); };
    // Or CivetWeb reads what is left of the body, however long that takes, before it closes.
    mg_disable_connection_keep_alive(connection);
    const HttpReply reply = pages_.Answer(request);
    return Send(connection, reply, request.verb != "HEAD");
  }

  const HttpPages pages_;
  const absl::Duration patience_;
};

class CivetHttpServer final : public HttpServer {
 public:
  // Throws CivetException when it cannot listen.
  CivetHttpServer(const ListenAddress& address, HttpParts parts, const HttpAccess& access)
      : pages_(std::move(parts),
               {address.local_only || (access.tls.has_value() && access.authenticated),
                access.authenticated},
               access.body_patience),
        civet_(
            std::vector<std::string>{
                "listening_ports", "127.0.0.1:0", "num_threads", absl::StrCat(kWorkers),
                "request_timeout_ms",
                absl::StrCat(absl::ToInt64Milliseconds(access.body_patience)),
                "keep_alive_timeout_ms", "0", "max_request_size", "8192"},
            &Callbacks()),
        port_(civet_.getListeningPorts().front()) {
    civet_.addHandler("/", pages_);
  }
  // CivetWeb's acceptor looks at its stop flag every two seconds, or when somebody connects.
  ~CivetHttpServer() override {
    front_.reset();
    std::atomic<bool> closed{false};
    std::thread closer([this, &closed] {
      civet_.close();
      closed.store(true);
    });
    while (!closed.load()) {
      Knock();
      absl::SleepFor(absl::Milliseconds(10));
    }
    closer.join();
  }

  const std::string& address() const override { return address_; }

  absl::Status StartFront(const std::string& listen, const ListenAddress& address,
                          const absl::optional<v1::Tls>& tls) {
    ENGRAM_ASSIGN_OR_RETURN(
        front_, HttpFront::Start({address.host, address.port, port_, kWorkers, tls}));
    address_ = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", front_->port());
    return absl::OkStatus();
  }

 private:
  void Knock() const {
    char error[128];
    mg_connection* const knock =
        mg_connect_client("127.0.0.1", port_, /*use_ssl=*/0, error, sizeof(error));
    if (knock != nullptr) mg_close_connection(knock);
  }

  PagesHandler pages_;
  CivetServer civet_;
  const int port_;
  std::string address_;
  std::unique_ptr<HttpFront> front_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(const std::string& listen,
                                                              HttpParts parts,
                                                              const HttpAccess& access) {
  ENGRAM_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress("--http_listen", listen));
  if (address.host.empty()) {
    return BadField("--http_listen",
                    absl::StrCat("expected HOST:PORT, got \"", Echo(listen), "\""));
  }
  if (access.tls.has_value()) {
    ENGRAM_RETURN_IF_ERROR(CheckTlsFiles("http_tls", *access.tls));
    if (!access.tls->client_ca_file().empty()) {
      return BadField("http_tls.client_ca_file", "the HTTP listener knows tokens only");
    }
  }
  Log(LogLevel::kDebug, "http_starting", {{"least_thread_stack", LeastThreadStack()}});
  // CivetWeb's constructor is the one place here that throws.
  try {
    auto made = std::make_unique<CivetHttpServer>(address, std::move(parts), access);
    ENGRAM_RETURN_IF_ERROR(made->StartFront(listen, address, access.tls));
    return made;
  } catch (const CivetException& failure) {
    return absl::UnavailableError(
        absl::StrCat("HTTP: no workers behind ", listen, ": ", failure.what()));
  }
}

}  // namespace engram::server
