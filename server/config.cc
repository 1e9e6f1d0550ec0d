#include "server/config.h"

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

absl::Status SettleLimits(v1::Limits* limits) {
  const struct {
    IntegerRange range;
    int64_t (v1::Limits::*get)() const;
    void (v1::Limits::*set)(int64_t);
  } table[] = {
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
  for (const auto& row : table) {
    int64_t value = (limits->*row.get)();
    ENGRAM_RETURN_IF_ERROR(Settle(row.range, &value));
    (limits->*row.set)(value);
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
  ENGRAM_RETURN_IF_ERROR(SettleRetention(config.mutable_retention()));
  ENGRAM_RETURN_IF_ERROR(SettleThreads(&config));
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
