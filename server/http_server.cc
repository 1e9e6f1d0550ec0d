#include "server/http_server.h"

#include <sstream>
#include <utility>
#include <vector>

#include "CivetServer.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "prometheus/metric_family.h"
#include "prometheus/text_serializer.h"
#include "server/config.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr absl::string_view kPlain = "text/plain; charset=utf-8";
constexpr absl::string_view kExposition = "text/plain; version=0.0.4; charset=utf-8";
constexpr absl::string_view kIndex =
    "engramd\n\n/metrics  Prometheus metrics\n/healthz  the process answers\n"
    "/readyz   every model serves\n";

struct Reply {
  int code = 200;
  absl::string_view reason = "OK";
  absl::string_view type = kPlain;
  std::string body;
};

bool Send(mg_connection* connection, const Reply& reply, bool with_body) {
  const std::string head = absl::StrCat(
      "HTTP/1.1 ", reply.code, " ", reply.reason, "\r\nContent-Type: ", reply.type,
      "\r\nContent-Length: ", reply.body.size(), "\r\nCache-Control: no-store\r\n",
      reply.code == 405 ? "Allow: GET, HEAD\r\n" : "", "Connection: close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  if (with_body) mg_write(connection, reply.body.data(), reply.body.size());
  return true;
}

// One handler for every path: what is not in its table is 404, whatever CivetWeb would do with it.
class Pages : public CivetHandler {
 public:
  Pages(const prometheus::Collectable* metrics, const ServingBoard* board, bool with_index)
      : metrics_(metrics), board_(board), with_index_(with_index) {}

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
    if (path == "/metrics") return Metrics();
    if (path == "/healthz") return {200, "OK", kPlain, "ok\n"};
    if (path == "/readyz") {
      if (board_->Ready()) return {200, "OK", kPlain, "ready\n"};
      return {503, "Service Unavailable", kPlain, "not ready\n"};
    }
    if (path == "/" && with_index_) return {200, "OK", kPlain, std::string(kIndex)};
    return {404, "Not Found", kPlain, "not found\n"};
  }

  Reply Metrics() const {
    std::ostringstream text;
    prometheus::TextSerializer().Serialize(text, metrics_->Collect());
    return {200, "OK", kExposition, text.str()};
  }

  bool Refuse(mg_connection* connection) const {
    Reply reply = Page(connection);
    if (reply.code != 404) {
      reply = {405, "Method Not Allowed", kPlain, "method not allowed\n"};
    }
    return Send(connection, reply, true);
  }

  const prometheus::Collectable* const metrics_;
  const ServingBoard* const board_;
  const bool with_index_;
};

class CivetHttpServer final : public HttpServer {
 public:
  // Throws CivetException when it cannot listen.
  CivetHttpServer(const std::string& listen, const ListenAddress& address,
                  const prometheus::Collectable* metrics, const ServingBoard* board)
      : pages_(metrics, board, address.local_only),
        civet_(std::vector<std::string>{"listening_ports", listen, "num_threads", "8",
                                        "request_timeout_ms", "1500", "keep_alive_timeout_ms",
                                        "0", "linger_timeout_ms", "0", "max_request_size",
                                        "8192"}) {
    civet_.addHandler("/", pages_);
    const std::vector<int> ports = civet_.getListeningPorts();
    address_ = absl::StrCat(listen.substr(0, listen.rfind(':')), ":",
                            ports.empty() ? address.port : ports.front());
  }
  ~CivetHttpServer() override { civet_.close(); }

  const std::string& address() const override { return address_; }

 private:
  Pages pages_;
  CivetServer civet_;
  std::string address_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<HttpServer>> HttpServer::Start(
    const std::string& listen, const prometheus::Collectable* metrics, const ServingBoard* board) {
  ENGRAM_ASSIGN_OR_RETURN(const ListenAddress address,
                          ParseListenAddress("--http_listen", listen));
  // CivetWeb's constructor is the one place here that throws.
  try {
    return std::make_unique<CivetHttpServer>(listen, address, metrics, board);
  } catch (const CivetException&) {
    return absl::UnavailableError(absl::StrCat("cannot listen on ", listen, ": port in use?"));
  }
}

}  // namespace engram::server
