// What every service needs, in one place; made in main.cc (or a test) and lent to the services.
//
// Threading: the members are thread-safe; the struct itself is not changed after start.
// Ownership: borrowed, all outlive the gRPC server.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/time/time.h"
#include "engram/v1/admin.pb.h"
#include "engram/v1/config.pb.h"
#include "server/audit_log.h"
#include "server/authority.h"
#include "server/backup_job.h"
#include "server/call_gate.h"
#include "server/call_pool.h"
#include "server/clock.h"
#include "server/errors.h"
#include "server/model_host.h"
#include "server/quota.h"
#include "server/reload.h"
#include "server/rpc_statistics.h"
#include "server/self_probe.h"
#include "strategies/api/options.h"

namespace engram::server {

// Bounds of one stream; those that limits say are taken from there.
struct StreamLimits {
  // Reading stops while this much of a Learn stream is accepted and not yet acked.
  int64_t unacked_bytes = 8 << 20;
  int64_t unacked_messages = 1024;
  // A write that the client does not take for this long ends the stream.
  absl::Duration write_patience = absl::Seconds(30);
  // How soon a message that met a full queue is tried again, and for how long in all.
  absl::Duration retry_pause = absl::Milliseconds(5);
  absl::Duration retry_patience = absl::Seconds(20);
  // After so many rejected messages in a row a stream is read one message at a time, with a pause
  // after each: what tells of a rejection costs more than what it answers. A stream whose latest
  // message was not taken, and one that has none yet, has no more than so many in flight: else as
  // many as unacked_messages would be rejected before the first pause.
  int64_t rejected_in_row = 32;
  absl::Duration rejected_pause = absl::Milliseconds(100);
  // A LearnBatch over its caller's rate is refused after that pause too, while such calls hold no
  // more than this.
  int64_t refused_bytes = 64 << 20;
  // Messages of one commit are acked together: a done that may have siblings waits this long.
  absl::Duration ack_pause = absl::Milliseconds(2);
  // A file in chunks goes on within this.
  absl::Duration part_patience = absl::Seconds(30);
  // Report events that a watcher may lag behind.
  int64_t watch_events = 256;
};

StreamLimits StreamLimitsOf(const v1::Limits& limits);

// Longest waits when a client sets no deadline, or a longer one.
struct CallCaps {
  absl::Duration predict = absl::Seconds(5);
  absl::Duration checkpoint = absl::Seconds(120);
  absl::Duration wait_applied = absl::Minutes(10);
};
CallCaps CallCapsOf(const v1::Limits& limits);

struct Edge {
  ModelHost* host = nullptr;
  CallGate* gate = nullptr;
  CallPool* pool = nullptr;
  // Predictions that do not fit a gRPC thread, so that no other kind of call is in front of them.
  CallPool* prediction_pool = nullptr;
  // A LearnBatch of many examples, which takes milliseconds and waits for nothing.
  CallPool* learning_pool = nullptr;
  QuotaLedger* quotas = nullptr;
  RpcStatistics* rpcs = nullptr;
  // Null: authentication is off, and the listeners keep to this machine.
  const Authority* authority = nullptr;
  BackupJob* backups = nullptr;  // null: not configured
  const std::vector<strategies::StrategyHelp>* strategies = nullptr;  // the registry's table
  v1::ServerConfig config;  // as started; CurrentConfig says what was reloaded since
  ConfigReloader* reloader = nullptr;  // null: nothing is ever reloaded
  AuditLog* audit = nullptr;           // null: nothing is recorded
  const ProbeStatistics* probe = nullptr;
  // The part of GetServerInfo that does not change: version, LibTorch, BLAS, threads, warnings.
  v1::ServerInfo fixed_info;
  absl::Duration started = SteadyNow();
  StreamLimits streams;
  CallCaps caps;
};

inline std::shared_ptr<const v1::ServerConfig> CurrentConfig(const Edge& edge) {
  if (edge.reloader != nullptr) return edge.reloader->current();
  return {std::shared_ptr<void>(), &edge.config};
}

// INVALID_ARGUMENT without a name; NOT_FOUND.
inline absl::StatusOr<std::shared_ptr<ModelRuntime>> FindModel(const Edge& edge,
                                                               absl::string_view name) {
  if (name.empty()) return BadField("model", "required");
  return edge.host->Find(name);
}

}  // namespace engram::server
