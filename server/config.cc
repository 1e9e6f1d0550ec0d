#include "server/config.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "google/protobuf/io/tokenizer.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/text_format.h"
#include "server/errors.h"
#include "server/identity.h"
#include "server/names.h"
#include "server/operations_config.h"
#include "storage/base/status_macros.h"
#include "storage/store.h"

namespace engram::server {
namespace {

constexpr int64_t kMiB = 1 << 20;
constexpr int64_t kDaySeconds = 24 * 3600;

// Keeps the first error: later ones usually follow from it.
class FirstError : public google::protobuf::io::ErrorCollector {
 public:
  void AddError(int line, google::protobuf::io::ColumnNumber column,
                const std::string& message) override {
    if (!text_.empty()) return;
    text_ = line < 0 ? message
                     : absl::StrCat("line ", line + 1, ", column ", column + 1, ": ", message);
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

struct IntegerRange {
  absl::string_view field;
  int64_t standard;
  int64_t least;
  int64_t most;
};

// 0 is "absent" in proto3 and takes the default.
absl::Status Settle(const IntegerRange& range, int64_t* value) {
  if (*value == 0) *value = range.standard;
  if (*value >= range.least && *value <= range.most) return absl::OkStatus();
  return BadField(range.field,
                  absl::StrCat("must be in [", range.least, ", ", range.most, "], got ", *value));
}

struct LimitRow {
  IntegerRange range;
  int64_t (v1::Limits::*get)() const;
  void (v1::Limits::*set)(int64_t);
};

constexpr LimitRow kModelLimits[] = {
    {{"limits.message_bytes", 4 * kMiB, 64 << 10, 64 * kMiB},
     &v1::Limits::message_bytes,
     &v1::Limits::set_message_bytes},
    {{"limits.examples_per_message", 1024, 1, 1024},
     &v1::Limits::examples_per_message,
     &v1::Limits::set_examples_per_message},
    {{"limits.features", 65536, 1, 65536}, &v1::Limits::features, &v1::Limits::set_features},
    {{"limits.tasks", 10000, 1, 10000}, &v1::Limits::tasks, &v1::Limits::set_tasks},
    {{"limits.producers", 10000, 1, 10000}, &v1::Limits::producers, &v1::Limits::set_producers},
    {{"limits.queue_bytes", 64 * kMiB, kMiB, 4096 * kMiB},
     &v1::Limits::queue_bytes,
     &v1::Limits::set_queue_bytes},
    {{"limits.checkpoints", 64, 1, 1024}, &v1::Limits::checkpoints, &v1::Limits::set_checkpoints},
    {{"limits.disk_reserve_bytes", 512 * kMiB, storage::kDiskReserveBytesLeast,
      int64_t{1} << 50},
     &v1::Limits::disk_reserve_bytes,
     &v1::Limits::set_disk_reserve_bytes},
    {{"limits.models", 64, 1, 1024}, &v1::Limits::models, &v1::Limits::set_models},
    {{"limits.weights_bytes", 256 * kMiB, kMiB, 1024 * kMiB},
     &v1::Limits::weights_bytes,
     &v1::Limits::set_weights_bytes},
};

constexpr LimitRow kCallerLimits[] = {
    {{"limits.in_flight_bytes", 64 * kMiB, kMiB, 4096 * kMiB},
     &v1::Limits::in_flight_bytes,
     &v1::Limits::set_in_flight_bytes},
    {{"limits.unacked_bytes", 8 * kMiB, 64 << 10, 1024 * kMiB},
     &v1::Limits::unacked_bytes,
     &v1::Limits::set_unacked_bytes},
    {{"limits.unacked_messages", 1024, 1, 65536},
     &v1::Limits::unacked_messages,
     &v1::Limits::set_unacked_messages},
    {{"limits.write_patience_seconds", 30, 1, 3600},
     &v1::Limits::write_patience_seconds,
     &v1::Limits::set_write_patience_seconds},
    {{"limits.connections", 1024, 1, 65536},
     &v1::Limits::connections,
     &v1::Limits::set_connections},
    {{"limits.connection_calls", 100, 1, 10000},
     &v1::Limits::connection_calls,
     &v1::Limits::set_connection_calls},
    {{"limits.connection_age_seconds", 3600, 1, 7 * kDaySeconds},
     &v1::Limits::connection_age_seconds,
     &v1::Limits::set_connection_age_seconds},
    {{"limits.connection_grace_seconds", 30, 1, kDaySeconds},
     &v1::Limits::connection_grace_seconds,
     &v1::Limits::set_connection_grace_seconds},
    {{"limits.waiting_predictions", 64, 1, 65536},
     &v1::Limits::waiting_predictions,
     &v1::Limits::set_waiting_predictions},
    {{"limits.waiting_calls", 64, 1, 65536},
     &v1::Limits::waiting_calls,
     &v1::Limits::set_waiting_calls},
    {{"limits.waits", 4096, 1, 1 << 20}, &v1::Limits::waits, &v1::Limits::set_waits},
    {{"limits.predict_deadline_seconds", 5, 1, 3600},
     &v1::Limits::predict_deadline_seconds,
     &v1::Limits::set_predict_deadline_seconds},
    {{"limits.checkpoint_deadline_seconds", 120, 1, kDaySeconds},
     &v1::Limits::checkpoint_deadline_seconds,
     &v1::Limits::set_checkpoint_deadline_seconds},
    {{"limits.wait_applied_deadline_seconds", 600, 1, kDaySeconds},
     &v1::Limits::wait_applied_deadline_seconds,
     &v1::Limits::set_wait_applied_deadline_seconds},
};

template <size_t kRows>
absl::Status SettleRows(const LimitRow (&rows)[kRows], v1::Limits* limits) {
  for (const LimitRow& row : rows) {
    int64_t value = (limits->*row.get)();
    ENGRAM_RETURN_IF_ERROR(Settle(row.range, &value));
    (limits->*row.set)(value);
  }
  return absl::OkStatus();
}

absl::Status SettleLimits(v1::Limits* limits) {
  ENGRAM_RETURN_IF_ERROR(SettleRows(kModelLimits, limits));
  ENGRAM_RETURN_IF_ERROR(SettleRows(kCallerLimits, limits));
  if (limits->in_flight_bytes() < limits->message_bytes()) {
    return BadField("limits.in_flight_bytes",
                    absl::StrCat("must be at least limits.message_bytes ", limits->message_bytes(),
                                 ", got ", limits->in_flight_bytes()));
  }
  return absl::OkStatus();
}

// What is absent in `quota` is as in `standard`; there 0 is no limit.
absl::Status SettleQuota(absl::string_view field, const v1::Quota& standard,
                         int64_t message_bytes, v1::Quota* quota) {
  const struct {
    absl::string_view name;
    int64_t least;
    int64_t most;
    int64_t (v1::Quota::*get)() const;
    void (v1::Quota::*set)(int64_t);
  } rows[] = {
      {"examples_per_second", 1, 1'000'000'000, &v1::Quota::examples_per_second,
       &v1::Quota::set_examples_per_second},
      {"boundaries_per_minute", 1, 1'000'000, &v1::Quota::boundaries_per_minute,
       &v1::Quota::set_boundaries_per_minute},
      {"learn_streams", 1, 1'000'000, &v1::Quota::learn_streams, &v1::Quota::set_learn_streams},
      {"in_flight_bytes", message_bytes, 4096 * kMiB, &v1::Quota::in_flight_bytes,
       &v1::Quota::set_in_flight_bytes},
  };
  for (const auto& row : rows) {
    int64_t value = (quota->*row.get)();
    if (value == 0) value = (standard.*row.get)();
    const std::string name = absl::StrCat(field, ".", row.name);
    if (value != 0) ENGRAM_RETURN_IF_ERROR(Settle({name, 0, row.least, row.most}, &value));
    (quota->*row.set)(value);
  }
  return absl::OkStatus();
}

// Without authentication one nameless caller is everybody, who is not to be in his own way.
v1::Quota StandardQuota(const v1::ServerConfig& config) {
  v1::Quota quota;
  if (!config.has_authentication() && config.tls().client_ca_file().empty()) return quota;
  quota.set_examples_per_second(20'000);
  quota.set_boundaries_per_minute(60);
  quota.set_learn_streams(8);
  quota.set_in_flight_bytes(std::max(16 * kMiB, config.limits().message_bytes()));
  return quota;
}

absl::Status SettleQuotas(v1::ServerConfig* config) {
  const int64_t message_bytes = config->limits().message_bytes();
  ENGRAM_RETURN_IF_ERROR(
      SettleQuota("quota", StandardQuota(*config), message_bytes, config->mutable_quota()));
  for (int i = 0; i < config->caller_quotas_size(); ++i) {
    v1::CallerQuota* each = config->mutable_caller_quotas(i);
    const std::string field = absl::StrCat("caller_quotas[", i, "]");
    if (!RoleOf(each->role()).has_value()) {
      return BadField(absl::StrCat(field, ".role"),
                      absl::StrCat("expected reader, writer or admin, got \"", Echo(each->role()),
                                   "\""));
    }
    if (!IsName(each->name())) {
      return BadField(absl::StrCat(field, ".name"),
                      absl::StrCat("expected a caller's name, got \"", Echo(each->name()), "\""));
    }
    ENGRAM_RETURN_IF_ERROR(SettleQuota(absl::StrCat(field, ".quota"), config->quota(),
                                       message_bytes, each->mutable_quota()));
  }
  return absl::OkStatus();
}

absl::Status SettleRetention(v1::Retention* retention) {
  int64_t seconds = retention->log_seconds();
  int64_t bytes = retention->log_bytes();
  int64_t idle = retention->producer_idle_seconds();
  ENGRAM_RETURN_IF_ERROR(
      Settle({"retention.log_seconds", kDaySeconds, 1, 3650 * kDaySeconds}, &seconds));
  ENGRAM_RETURN_IF_ERROR(
      Settle({"retention.log_bytes", 10240 * kMiB, kMiB, int64_t{1} << 50}, &bytes));
  ENGRAM_RETURN_IF_ERROR(
      Settle({"retention.producer_idle_seconds", 30 * kDaySeconds, 60, 3650 * kDaySeconds}, &idle));
  retention->set_log_seconds(seconds);
  retention->set_log_bytes(bytes);
  retention->set_producer_idle_seconds(idle);
  return absl::OkStatus();
}

absl::Status SettleBackups(v1::Backups* backups) {
  if (backups->folder().empty()) return BadField("backups.folder", "required");
  int64_t kept = backups->kept();
  ENGRAM_RETURN_IF_ERROR(Settle({"backups.kept", 7, 1, 1000}, &kept));
  backups->set_kept(static_cast<int32_t>(kept));
  return absl::OkStatus();
}

absl::Status SettleThreads(v1::ServerConfig* config) {
  int64_t trainers = config->trainer_threads();
  int64_t compute = config->compute_threads();
  ENGRAM_RETURN_IF_ERROR(Settle({"trainer_threads", 1, 1, 64}, &trainers));
  ENGRAM_RETURN_IF_ERROR(Settle({"compute_threads", 1, 1, 64}, &compute));
  config->set_trainer_threads(static_cast<int32_t>(trainers));
  config->set_compute_threads(static_cast<int32_t>(compute));
  if (config->live_evaluation_share() == 0) config->set_live_evaluation_share(0.05);
  const double share = config->live_evaluation_share();
  if (std::isnan(share) || share < 0 || share > 1) {
    return BadField("live_evaluation_share", absl::StrCat("must be in (0, 1], got ", share));
  }
  return absl::OkStatus();
}

absl::Status CheckModels(const v1::ServerConfig& config) {
  absl::flat_hash_set<std::string> seen;
  for (int i = 0; i < config.models_size(); ++i) {
    const std::string& name = config.models(i).name();
    if (name.empty()) return BadField(absl::StrCat("models[", i, "].name"), "required");
    if (!seen.insert(name).second) {
      return BadField(absl::StrCat("models[", i, "].name"),
                      absl::StrCat("\"", Echo(name), "\" is given twice"));
    }
  }
  if (config.models_size() > config.limits().models()) {
    return BadField("models", absl::StrCat(config.models_size(), " models exceed limits.models ",
                                           config.limits().models()));
  }
  return absl::OkStatus();
}

bool IsLoopback(absl::string_view host) {
  return host == "localhost" || host == "::1" || absl::StartsWith(host, "127.");
}

}  // namespace

absl::StatusOr<v1::ServerConfig> ParseConfig(absl::string_view text) {
  v1::ServerConfig config;
  FirstError errors;
  google::protobuf::TextFormat::Parser parser;
  parser.RecordErrorsTo(&errors);
  google::protobuf::io::ArrayInputStream stream(text.data(), static_cast<int>(text.size()));
  if (!parser.Parse(&stream, &config)) return absl::InvalidArgumentError(errors.text());
  return config;
}

absl::StatusOr<v1::ServerConfig> CompleteConfig(v1::ServerConfig config) {
  ENGRAM_RETURN_IF_ERROR(SettleLimits(config.mutable_limits()));
  ENGRAM_RETURN_IF_ERROR(SettleQuotas(&config));
  ENGRAM_RETURN_IF_ERROR(SettleRetention(config.mutable_retention()));
  ENGRAM_RETURN_IF_ERROR(SettleThreads(&config));
  if (config.has_backups()) ENGRAM_RETURN_IF_ERROR(SettleBackups(config.mutable_backups()));
  ENGRAM_RETURN_IF_ERROR(SettleOperations(&config));
  ENGRAM_RETURN_IF_ERROR(CheckModels(config));
  return config;
}

absl::StatusOr<v1::ServerConfig> LoadConfig(const std::string& path) {
  if (path.empty()) return CompleteConfig({});
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (!file) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  absl::StatusOr<v1::ServerConfig> config = ParseConfig(text);
  if (config.ok()) config = CompleteConfig(*std::move(config));
  if (!config.ok()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", config.status().message()));
  }
  return config;
}

absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view flag, absl::string_view text) {
  ListenAddress address;
  if (absl::StartsWith(text, "unix:")) {
    address.local_only = true;
    return address;
  }
  const size_t colon = text.rfind(':');
  if (colon == absl::string_view::npos || colon == 0 ||
      !absl::SimpleAtoi(text.substr(colon + 1), &address.port) || address.port < 0 ||
      address.port > 65535) {
    return BadField(flag, absl::StrCat("expected HOST:PORT, got \"", Echo(text), "\""));
  }
  absl::string_view host = text.substr(0, colon);
  if (absl::ConsumePrefix(&host, "[") && !absl::ConsumeSuffix(&host, "]")) {
    return BadField(flag, absl::StrCat("expected [HOST]:PORT, got \"", Echo(text), "\""));
  }
  address.host = std::string(host);
  address.local_only = IsLoopback(host);
  return address;
}

}  // namespace engram::server
