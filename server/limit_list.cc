#include "server/limit_list.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "server/http_exchange.h"

namespace engram::server {
namespace {

void Add(absl::string_view name, absl::string_view value, absl::string_view help,
         v1::GetLimitsResponse* response) {
  v1::Limit* limit = response->add_limits();
  limit->set_name(std::string(name));
  limit->set_value(std::string(value));
  limit->set_help(std::string(help));
}

void AddQuota(const std::string& whose, const v1::Quota& quota, v1::GetLimitsResponse* response) {
  const struct {
    absl::string_view name;
    int64_t value;
    absl::string_view help;
  } rows[] = {
      {"examples_per_second", quota.examples_per_second(), "of one caller"},
      {"boundaries_per_minute", quota.boundaries_per_minute(), "of one caller"},
      {"learn_streams", quota.learn_streams(), "open at once of one caller"},
      {"in_flight_bytes", quota.in_flight_bytes(), "of one caller, not durable yet"},
  };
  for (const auto& row : rows) {
    Add(absl::StrCat(whose, ".", row.name), row.value == 0 ? "none" : absl::StrCat(row.value),
        row.help, response);
  }
}

}  // namespace

void AddEdgeLimits(const Edge& edge, v1::GetLimitsResponse* response) {
  const v1::Limits& limits = edge.config.limits();
  const auto count = [response](absl::string_view name, int64_t value, absl::string_view help) {
    Add(name, absl::StrCat(value), help, response);
  };
  const auto time = [response](absl::string_view name, absl::Duration value,
                               absl::string_view help) {
    Add(name, absl::FormatDuration(value), help, response);
  };
  count("unacked_bytes", edge.streams.unacked_bytes, "in flight a Learn stream");
  count("unacked_messages", edge.streams.unacked_messages, "in flight a Learn stream");
  count("in_flight_bytes", limits.in_flight_bytes(), "of all callers, not durable yet");
  time("write_patience", edge.streams.write_patience, "an unread stream is closed after this");
  count("connections", limits.connections(), "open at once");
  count("connection_calls", limits.connection_calls(), "open at once on one connection");
  time("connection_age", absl::Seconds(limits.connection_age_seconds()),
       "then a client is asked to connect again");
  time("connection_grace", absl::Seconds(limits.connection_grace_seconds()),
       "then the connection is cut");
  count("waiting_predictions", limits.waiting_predictions(), "for a thread");
  count("waiting_calls", limits.waiting_calls(), "other calls, for a thread");
  count("http_calls", kHttpCallsMax, "by HTTP, under way at once");
  count("http_bytes", kHttpBytesMax, "of all calls by HTTP: bodies, read, and replies");
  count("http_body_bytes", static_cast<int64_t>(kHttpBodyBytesMax), "of a body of JSON by HTTP");
  time("http_body_patience", edge.streams.part_patience, "a body by HTTP may pause for");
  count("waits", limits.waits(), "calls that wait for a sequence");
  time("predict_deadline", edge.caps.predict, "longest wait of Predict");
  time("checkpoint_deadline", edge.caps.checkpoint, "longest wait of CreateCheckpoint");
  time("wait_applied_deadline", edge.caps.wait_applied, "longest wait of WaitApplied");
  AddQuota("quota", edge.config.quota(), response);
  for (const v1::CallerQuota& each : edge.config.caller_quotas()) {
    AddQuota(absl::StrCat("quota of ", each.role(), " ", each.name()), each.quota(), response);
  }
}

}  // namespace engram::server
