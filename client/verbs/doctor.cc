#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/table.h"
#include "client/verbs/verbs.h"

namespace engram::client {
namespace {

std::string ServerText(const v1::ServerInfo& server) {
  std::string text = absl::StrCat(
      "engramd     ", server.version(), ", up ",
      absl::FormatDuration(absl::Trunc(absl::Seconds(server.uptime_seconds()), absl::Seconds(1))),
      ", ", server.models(), " models\n", "LibTorch    ", server.libtorch(), ", ",
      server.compute_threads(), " threads\n", "BLAS        ", server.blas_path(), " (",
      server.blas_core(), "), ", server.blas_is_fast() ? "fast" : "SLOW", "\n", "compute     ",
      server.compute_fingerprint(), "\n", "storage     ", server.rocksdb(), "\n", "gRPC        ",
      server.grpc(), "\n", "your role   ", server.role(), "\n", "disk        ",
      ByteCount(server.disk_free_bytes()), " free of ",
      ByteCount(server.disk_total_bytes()), "\n");
  if (!server.read_only_reason().empty()) {
    absl::StrAppend(&text, "READ ONLY   ", server.read_only_reason(), "\n");
  }
  for (const std::string& warning : server.warnings()) {
    absl::StrAppend(&text, "WARNING     ", warning, "\n");
  }
  return text;
}

std::string LimitsText(const std::vector<v1::Limit>& limits) {
  Table table({"limit", "value", "meaning"});
  for (const v1::Limit& limit : limits) table.Add({limit.name(), limit.value(), limit.help()});
  return table.Text();
}

}  // namespace

int Doctor(const VerbContext& context, const Arguments& args) {
  FlagSet flags("doctor", "Says what the server is: versions, BLAS, disk, warnings, limits.");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const AdminClient admin(*connection);
  const auto server = admin.GetServerInfo();
  if (!server.ok()) return Fail(context, server.status());
  const auto limits = admin.GetLimits();
  if (!limits.ok()) return Fail(context, limits.status());
  if (!context.json) {
    *context.out << ServerText(*server) << "\n" << LimitsText(*limits);
    return kExitOk;
  }
  Json object = ToJson(*server);
  object["limits"] = Json::array();
  for (const v1::Limit& limit : *limits) object["limits"].push_back(ToJson(limit));
  *context.out << object.dump() << "\n";
  return kExitOk;
}

}  // namespace engram::client
