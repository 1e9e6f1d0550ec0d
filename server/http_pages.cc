#include "server/http_pages.h"

#include <arpa/inet.h>

#include <algorithm>
#include <memory>
#include <sstream>
#include <string>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "prometheus/text_serializer.h"
#include "server/dashboard_files.h"
#include "server/errors.h"
#include "server/inference_rest.h"
#include "server/rpc_table.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr std::chrono::milliseconds kNextTry{200};
constexpr absl::string_view kPlain = "text/plain; charset=utf-8";
constexpr absl::string_view kExposition = "text/plain; version=0.0.4; charset=utf-8";
HttpReply Text(int code, std::string body, absl::string_view type = kPlain) {
  HttpReply reply;
  reply.code = code;
  reply.type = std::string(type);
  reply.body = std::move(body);
  return reply;
}

HttpReply Metrics(const prometheus::Collectable& metrics) {
  std::ostringstream text;
  prometheus::TextSerializer().Serialize(text, metrics.Collect());
  return Text(200, text.str(), kExposition);
}

HttpReply Ready(const ServingBoard& board) {
  const std::string obstacle = board.WhyNotReady();
  if (obstacle.empty()) return Text(200, "ready\n");
  return Text(503, absl::StrCat("not ready: ", obstacle, "\n"));
}

HttpReply File(const DashboardFile& file, const HttpRequest& request) {
  HttpReply reply = Text(200, std::string(file.bytes), file.content_type);
  reply.cache = "no-cache";  // kept, but asked for: a page and its server are of one version
  reply.headers = {{"ETag", std::string(file.etag)},
                   {"Content-Security-Policy", std::string(kDashboardPolicy)},
                   {"X-Content-Type-Options", "nosniff"},
                   {"Referrer-Policy", "no-referrer"}};
  if (request.header("If-None-Match").value_or("") == file.etag) {
    reply.code = 304;
    reply.body.clear();
  }
  return reply;
}

const DashboardFile* FindFile(absl::string_view path) {
  const auto& files = DashboardFiles();
  const auto found = std::find_if(files.begin(), files.end(),
                                  [path](const DashboardFile& each) { return each.path == path; });
  return found == files.end() ? nullptr : &*found;
}

bool Below(absl::string_view path, absl::string_view root) {
  return path == root || (absl::ConsumePrefix(&path, root) && path.front() == '/');
}

// "[::1]:7402" and "127.0.0.1:7402" are addresses, and no name can become "localhost".
bool IsAddress(absl::string_view host) {
  const bool bracketed = absl::StartsWith(host, "[");
  const size_t end = bracketed ? host.find(']') : host.find(':');
  if (bracketed && end == absl::string_view::npos) return false;
  const std::string bare(host.substr(bracketed ? 1 : 0, end - (bracketed ? 1 : 0)));
  in6_addr parsed;
  return bare == "localhost" ||
         inet_pton(bracketed ? AF_INET6 : AF_INET, bare.c_str(), &parsed) == 1;
}

}  // namespace

HttpReply HttpPages::Answer(const HttpRequest& request) const {
  const absl::string_view path = request.path;
  if (rules_.all_pages && Below(path, "/v1") && parts_.rest) {
    return Called({parts_.rest, ErrorReply}, request);
  }
  if (rules_.all_pages && Below(path, "/v2") && parts_.inference) {
    return Called({parts_.inference, InferErrorReply}, request);
  }
  HttpReply reply = Page(request);
  const bool there = reply.code != 404;
  if (there && request.verb != "GET" && request.verb != "HEAD") {
    reply = Text(405, "method not allowed\n");
    reply.headers.emplace_back("Allow", "GET, HEAD");
  }
  return reply;
}

HttpReply HttpPages::Page(const HttpRequest& request) const {
  const HttpReply nothing = Text(404, "not found\n");
  const bool plain =
      std::find(kPlainPages.begin(), kPlainPages.end(), request.path) != kPlainPages.end();
  if (!plain) {
    const DashboardFile* const file = rules_.all_pages ? FindFile(request.path) : nullptr;
    return file == nullptr ? nothing : File(*file, request);
  }
  if (request.path == "/metrics") return Metrics(*parts_.metrics);
  if (request.path == "/healthz") return Text(200, "ok\n");
  if (request.path == "/readyz") return Ready(*parts_.board);
  return nothing;
}

HttpReply HttpPages::Called(const Door& door, const HttpRequest& request) const {
  const absl::Status site = CheckSite(request);
  if (!site.ok()) return door.error(site);
  const std::shared_ptr<int64_t> held(new int64_t(0), [under_way = under_way_](int64_t* bytes) {
    under_way->bytes.fetch_sub(*bytes);
    under_way->calls.fetch_sub(1);
    delete bytes;
  });
  if (under_way_->calls.fetch_add(1) >= rules_.calls_max) {
    const std::string text =
        absl::StrCat("http.calls: ", rules_.calls_max,
                     " calls are under way by HTTP; try again, or use gRPC");
    return door.error(OverLimit("http.calls", text, kNextTry));
  }
  HttpRequest counted = request;
  counted.reserve = [this, &held](int64_t bytes) { return Reserve(bytes, held.get()); };
  HttpReply reply = door.handler(counted);
  reply.held = held;
  return reply;
}

absl::Status HttpPages::Reserve(int64_t bytes, int64_t* held) const {
  const int64_t all = under_way_->bytes.fetch_add(bytes) + bytes;
  const bool fits = bytes <= 0 || all <= rules_.bytes_max;
  if (fits) {
    *held += bytes;
    return absl::OkStatus();
  }
  under_way_->bytes.fetch_sub(bytes);
  const bool ever = *held + bytes <= rules_.bytes_max;
  return OverLimit(
      "http.bytes",
      absl::StrCat("http.bytes: all calls by HTTP may hold ", rules_.bytes_max,
                   " bytes together, this one asks for ", *held + bytes, "; ",
                   ever ? "try again, or use gRPC" : "send it in parts, or use gRPC"),
      ever ? kNextTry : std::chrono::milliseconds(0));
}

absl::Status HttpPages::CheckSite(const HttpRequest& request) const {
  const absl::string_view host = request.header("Host").value_or("");
  absl::string_view origin = request.header("Origin").value_or("");
  if (!origin.empty() &&
      (!(absl::ConsumePrefix(&origin, "http://") || absl::ConsumePrefix(&origin, "https://")) ||
       origin != host)) {
    return absl::PermissionDeniedError("Origin: a page of another site may not call");
  }
  if (!rules_.authenticated && !IsAddress(host)) {
    return absl::PermissionDeniedError(
        absl::StrCat("Host: without authentication only an address or localhost is served, got \"",
                     Echo(host), "\""));
  }
  return absl::OkStatus();
}

}  // namespace engram::server
