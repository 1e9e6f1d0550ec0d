#include "server/http_server.h"

#include <algorithm>
#include <atomic>
#include <sstream>
#include <thread>
#include <utility>
#include <vector>

#include "CivetServer.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "prometheus/metric_family.h"
#include "prometheus/text_serializer.h"
#include "server/config.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/rpc_table.h"
#include "server/thread_stacks.h"
#include "server/tls_files.h"
#include "server/tls_front.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr absl::string_view kPlain = "text/plain; charset=utf-8";
constexpr absl::string_view kExposition = "text/plain; version=0.0.4; charset=utf-8";
constexpr absl::string_view kIndex =
    "engramd\n\n/metrics  Prometheus metrics\n/healthz  the process answers\n"
    "/readyz   every model serves and can learn\n";

struct Reply {
  int code = 200;
  absl::string_view reason = "OK";
  absl::string_view type = kPlain;
  std::string body;
};

bool Send(mg_connection* connection, const Reply& reply, bool with_body) {
  const std::string head =
      absl::StrCat("HTTP/1.1 ", reply.code, " ", reply.reason, "\r\nContent-Type: ", reply.type,
                   "\r\nContent-Length: ", reply.body.size(), "\r\nCache-Control: no-store\r\n",
                   reply.code == 405 ? "Allow: GET, HEAD\r\n" : "",
                   reply.code == 401 ? "WWW-Authenticate: Bearer\r\n" : "",
                   "Connection: close\r\n\r\n");
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

// One handler for every path: what is not in its table is 404, whatever CivetWeb would do with it.
class Pages : public CivetHandler {
 public:
  Pages(const prometheus::Collectable* metrics, const ServingBoard* board,
        const Authority* authority, bool roles_may_call)
      : metrics_(metrics), board_(board), authority_(authority), roles_may_call_(roles_may_call) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    return Send(connection, Page(connection), true);
  }
  bool handleHead(CivetServer*, mg_connection* connection) override {
    return Send(connection, Page(connection), false);
  }
  bool handlePost(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handlePut(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handleDelete(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handlePatch(CivetServer*, mg_connection* connection) override { return Refuse(connection); }
  bool handleOptions(CivetServer*, mg_connection* connection) override {
    return Refuse(connection);
  }

 private:
  Reply Page(mg_connection* connection) const {
    const char* uri = mg_get_request_info(connection)->local_uri;
    const absl::string_view path = uri == nullptr ? "" : uri;
    const auto row = std::find_if(kPages.begin(), kPages.end(),
                                  [path](const AccessRow& each) { return each.name == path; });
    if (row == kPages.end()) return NotFoundPage();
    if (!roles_may_call_ && row->role != Role::kAnybody) return NotFoundPage();
    const absl::Status allowed = CheckCaller(connection, *row);
    if (absl::IsPermissionDenied(allowed)) return Refusal(403, "Forbidden", allowed);
    if (!allowed.ok()) return Refusal(401, "Unauthorized", allowed);
    return Content(path);
  }

  absl::Status CheckCaller(mg_connection* connection, const AccessRow& row) const {
    if (authority_ == nullptr || row.role == Role::kAnybody) return absl::OkStatus();
    const char* header = mg_get_header(connection, "Authorization");
    ENGRAM_ASSIGN_OR_RETURN(const Identity caller,
                            authority_->Identify(header == nullptr ? "" : header));
    return Authority::CheckRole(caller, row.role, row.name);
  }

  static Reply NotFoundPage() { return {404, "Not Found", kPlain, "not found\n"}; }
  static Reply Refusal(int code, absl::string_view reason, const absl::Status& status) {
    return {code, reason, kPlain, absl::StrCat(status.message(), "\n")};
  }

  Reply Content(absl::string_view path) const {
    if (path == "/metrics") return Metrics();
    if (path == "/healthz") return {200, "OK", kPlain, "ok\n"};
    if (path == "/readyz") {
      const std::string obstacle = board_->WhyNotReady();
      if (obstacle.empty()) return {200, "OK", kPlain, "ready\n"};
      return {503, "Service Unavailable", kPlain, absl::StrCat("not ready: ", obstacle, "\n")};
    }
    if (path == "/") return {200, "OK", kPlain, std::string(kIndex)};
    return NotFoundPage();
  }

  Reply Metrics() const {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, metrics_->Collect());
    return {200, "OK", kExposition, text.str()};
  }

  bool Refuse(mg_connection* connection) const {
    Reply reply = Page(connection);
    if (reply.code == 200 || reply.code == 503) {
      reply = {405, "Method Not Allowed", kPlain, "method not allowed\n"};
    }
    return Send(connection, reply, true);
  }

  const prometheus::Collectable* const metrics_;
  const ServingBoard* const board_;
  const Authority* const authority_;
  const bool roles_may_call_;  // otherwise only what anybody may see is there
};

class CivetHttpServer final : public HttpServer {
 public:
  // Throws CivetException when it cannot listen.
  CivetHttpServer(const std::string& listen, const ListenAddress& address,
                  const prometheus::Collectable* metrics, const ServingBoard* board,
                  const HttpAccess& access)
      : pages_(metrics, board, access.authority,
               address.local_only || (access.tls.has_value() && access.authority != nullptr)),
        civet_(std::vector<std::string>{"listening_ports",
                                        access.tls.has_value() ? "127.0.0.1:0" : listen,
                                        "num_threads", "8", "request_timeout_ms", "1000",
                                        "keep_alive_timeout_ms", "0", "linger_timeout_ms", "0",
                                        "max_request_size", "8192"},
               &Callbacks()) {
    civet_.addHandler("/", pages_);
    const std::vector<int> ports = civet_.getListeningPorts();
    port_ = ports.empty() ? address.port : ports.front();
    address_ = absl::StrCat(listen.substr(0, listen.rfind(':')), ":", port_);
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
                          const v1::Tls& tls) {
    ENGRAM_ASSIGN_OR_RETURN(front_, TlsFront::Start(address.host, address.port, tls, port_));
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

  Pages pages_;
  CivetServer civet_;
  int port_ = 0;
  std::string address_;
  std::unique_ptr<TlsFront> front_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const std::string& listen, const prometheus::Collectable* metrics, const ServingBoard* board,
    const HttpAccess& access) {
  ENGRAM_ASSIGN_OR_RETURN(const ListenAddress address, ParseListenAddress("--http_listen", listen));
  if (access.tls.has_value()) {
    ENGRAM_RETURN_IF_ERROR(CheckTlsFiles("http_tls", *access.tls));
    if (!access.tls->client_ca_file().empty()) {
      return BadField("http_tls.client_ca_file", "the HTTP listener knows tokens only");
    }
  }
  Log(LogLevel::kDebug, "http_starting", {{"least_thread_stack", LeastThreadStack()}});
  // CivetWeb's constructor is the one place here that throws.
  try {
    auto made = std::make_unique<CivetHttpServer>(listen, address, metrics, board, access);
    if (access.tls.has_value()) {
      ENGRAM_RETURN_IF_ERROR(made->StartFront(listen, address, *access.tls));
    }
    return made;
  } catch (const CivetException&) {
    return absl::UnavailableError(
        absl::StrCat("HTTP: cannot listen on ", listen, ": port in use?"));
  }
}

}  // namespace engram::server
