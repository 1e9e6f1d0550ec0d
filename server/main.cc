// engramd: wiring only. Settles the process, opens the store, starts the models, listens, and takes
// it all down in order on SIGTERM or SIGINT.
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/audit_log.h"
#include "server/authority.h"
#include "server/clock.h"
#include "server/config.h"
#include "server/edge.h"
#include "server/endpoints_file.h"
#include "server/exporter.h"
#include "server/flag_check.h"
#include "server/grpc_server.h"
#include "server/http_server.h"
#include "server/inference_rest.h"
#include "server/library_logs.h"
#include "server/listener_check.h"
#include "server/listener_credentials.h"
#include "server/logging.h"
#include "server/loss_lock.h"
#include "server/own_calls.h"
#include "server/process_env.h"
#include "server/reload.h"
#include "server/rest_gateway.h"
#include "server/rpc_table.h"
#include "server/self_probe.h"
#include "server/server_info.h"
#include "server/serving_board.h"
#include "server/systemd_notify.h"
#include "storage/base/status_macros.h"
#include "storage/store.h"
#include "storage/store_folder.h"
#include "strategies/api/compute.h"
#include "strategies/api/learner.h"

ABSL_FLAG(std::string, data_dir, "", "Folder of all durable state; made when missing");
ABSL_FLAG(std::string, listen, "127.0.0.1:7401", "gRPC listener; port 0 takes any free port");
ABSL_FLAG(std::string, http_listen, "127.0.0.1:7402",
          "HTTP listener (metrics, health); port 0 takes any free port");
ABSL_FLAG(std::string, config, "", "Text-format engram.v1.ServerConfig");

namespace engram::server {
namespace {

constexpr int kPoolThreads = 2;
constexpr int64_t kOpenFilesWanted = 65536;
constexpr absl::Duration kReloadPause = absl::Seconds(1);
constexpr absl::Duration kLeavePatience = absl::Seconds(20);
constexpr absl::Duration kStreamPatience = absl::Seconds(3);
constexpr absl::Duration kDrainPatience = absl::Seconds(5);

int Fail(int code, const absl::Status& status) {
  std::fprintf(stderr, "engramd: %s\n", std::string(status.message()).c_str());
  return code;
}

int StoreExitCode(const absl::Status& status) {
  if (absl::IsDataLoss(status)) return EX_DATAERR;
  if (storage::IsFolderTaken(status)) return EX_CANTCREAT;
  return absl::IsFailedPrecondition(status) || absl::IsInvalidArgument(status) ? EX_CONFIG
                                                                               : EX_IOERR;
}

int ListenExitCode(const absl::Status& status) {
  return absl::IsUnavailable(status) ? EX_UNAVAILABLE : EX_CONFIG;
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

// What AwaitStop waits for.
sigset_t AwaitedSignals() {
  sigset_t signals = StopSignals();
  sigaddset(&signals, SIGHUP);
  return signals;
}

absl::Status StartModels(const v1::ServerConfig& config, ModelHost* host) {
  ENGRAM_RETURN_IF_ERROR(host->Start());
  for (const v1::ServerConfig::NamedModel& model : config.models()) {
    v1::CreateModelRequest request;
    request.set_name(model.name());
    *request.mutable_spec() = model.spec();
    const absl::Status status = host->Create(request).status();
    if (!status.ok() && !absl::IsAlreadyExists(status)) {
      return absl::Status(status.code(), absl::StrCat("model \"", model.name(),
                                                      "\" of --config: ", status.message()));
    }
  }
  return absl::OkStatus();
}

// Streams first, then models: what a stream got accepted is acked before the log closes.
void Stop(GrpcServer* grpc, ModelHost* host, ServingBoard* board) {
  board->Withdraw();
  absl::Duration patience = kDrainPatience;
  std::atomic<bool> done{false};
  // A second signal ends the waiting, never the writing.
  std::thread impatience([&done, grpc] {
    const sigset_t signals = StopSignals();
    const timespec pause{0, 50'000'000};
    while (!done.load()) {
      if (sigtimedwait(&signals, nullptr, &pause) > 0) {
        Log(LogLevel::kWarning, "drain_hurried");
        grpc->Hurry();
      }
    }
  });
  grpc->Drain(kStreamPatience);
  if (grpc->hurried()) patience = absl::ZeroDuration();
  host->Drain(patience);
  done.store(true);
  impatience.join();
}

// What outlasts the store: it may tell of its health until it is gone.
struct Records {
  ServingBoard board;
  std::unique_ptr<LossBook> losses;
  std::unique_ptr<AuditLog> audit;
};

// What a model's guard did, as an administrator's call would be recorded.
void Record(const GuardAction& action, AuditLog* audit) {
  v1::AuditEntry entry = MakeAuditEntry(action.method, nullptr, "", action.outcome);
  entry.set_role("guard");
  entry.set_model(action.model);
  entry.set_subject(action.checkpoint);
  audit->Append(std::move(entry), nullptr);
}

// What serves, wired together; nothing runs yet.
struct Parts {
  Parts(const v1::ServerConfig& config, Authority* authority, storage::Store* store,
        Records* records)
      : board(records->board),
        reloader(absl::GetFlag(FLAGS_config), config, authority,
                 {[this](const v1::ServerConfig& next) { host->Apply(next); }}),
        gate(config.limits().waits()),
        quotas(config),
        pool("limits.waiting_calls", kPoolThreads, config.limits().waiting_calls()),
        prediction_pool("limits.waiting_predictions", kPoolThreads,
                        config.limits().waiting_predictions()),
        learning_pool("limits.waiting_calls", kPoolThreads, config.limits().waiting_calls()) {
    const strategies::ComputeIdentity compute = strategies::DescribeCompute();
    ModelHostOptions options;
    options.config = config;
    options.compute_fingerprint = compute.Fingerprint();
    options.make_learner = strategies::MakeLearner;
    options.on_serving = [this](const std::string& model, bool serving) {
      // A deleted model stops serving too, and must not keep the server from being ready.
      serving || host->Find(model).ok() ? board.Set(model, serving) : board.Remove(model);
    };
    options.on_guard = [audit = records->audit.get()](const GuardAction& action) {
      Record(action, audit);
    };
    options.losses = records->losses.get();
    options.enter_compute_thread = strategies::EnterComputeThread;
    host = MakeModelHost(std::move(options), store);
    edge.host = host.get();
    edge.gate = &gate;
    edge.pool = &pool;
    edge.prediction_pool = &prediction_pool;
    edge.learning_pool = &learning_pool;
    edge.quotas = &quotas;
    edge.rpcs = &rpcs;
    edge.authority = authority;
    edge.strategies = &strategies::ListStrategies();
    edge.config = config;
    edge.streams = StreamLimitsOf(config.limits());
    edge.caps = CallCapsOf(config.limits());
    edge.reloader = &reloader;
    edge.audit = records->audit.get();
    edge.probe = &probe;
    edge.fixed_info = MakeServerInfo(compute, store->EngineVersion());
  }

  ServingBoard& board;
  std::unique_ptr<ModelHost> host;
  ConfigReloader reloader;
  ProbeStatistics probe;
  CallGate gate;
  RpcStatistics rpcs;
  QuotaLedger quotas;
  CallPool pool;
  CallPool prediction_pool;
  CallPool learning_pool;
  Edge edge;
};

// SIGHUP: the tokens, changed or not, and --config where there is one.
void ReloadAll(Authority* authority, const Edge& edge) {
  absl::Status read = authority == nullptr ? absl::OkStatus() : authority->Reload();
  if (!read.ok()) Log(LogLevel::kError, "tokens_not_reloaded", {{"reason", read}});
  if (!absl::GetFlag(FLAGS_config).empty()) {
    const auto reloaded = edge.reloader->Reload();
    read.Update(reloaded.status());
    if (!reloaded.ok()) {
      Log(LogLevel::kError, "config_not_reloaded", {{"reason", reloaded.status()}});
    } else {
      Log(LogLevel::kInfo, "config_reloaded", {{"changes", reloaded->changes_size()}});
    }
  }
  v1::AuditEntry entry = MakeAuditEntry(RowOf(Rpc::kReloadConfig).name, nullptr, "", read);
  entry.set_role("operator");
  entry.set_name("SIGHUP");
  edge.audit->Append(std::move(entry), nullptr);
}

// Why to stop: the signal, or 0 when the listener is deaf. Reloads meanwhile.
int AwaitStop(Authority* authority, const Edge& edge, const SelfProbe* probe) {
  const sigset_t signals = AwaitedSignals();
  const timespec pause = absl::ToTimespec(kReloadPause);
  while (probe == nullptr || !probe->lost()) {
    const int signal = sigtimedwait(&signals, nullptr, &pause);
    if (signal == SIGHUP) {
      ReloadAll(authority, edge);
    } else if (signal > 0) {
      return signal;
    } else if (authority != nullptr) {
      const absl::Status read = authority->ReloadIfChanged();
      if (!read.ok()) Log(LogLevel::kError, "tokens_not_reloaded", {{"reason", read}});
    }
  }
  return 0;
}

// Null when it is switched off.
std::unique_ptr<SelfProbe> StartProbe(const v1::ServerConfig& config, const Authority* authority,
                                      const std::string& address, const QuotaLedger* quotas,
                                      ProbeStatistics* statistics) {
  if (config.self_probe().off()) return nullptr;
  SelfProbeOptions options;
  options.period = std::min(absl::Milliseconds(config.self_probe().period_ms()),
                            SystemdWatchdog() / 2);
  options.misses = config.self_probe().misses();
  options.leave_within = kLeavePatience;
  options.ask = FullIsAnAnswer(
      MakeListenerCheck(address, config, authority == nullptr ? "" : authority->own_token()),
      quotas);
  options.on_pass = [] { NotifySystemd("WATCHDOG=1"); };
  options.on_lost = [misses = options.misses](const absl::Status& last) {
    Log(LogLevel::kError, "listener_deaf",
        {{"reason", last}, {"misses", misses}, {"exit", EX_SOFTWARE}});
  };
  options.leave = [] {
    Log(LogLevel::kError, "drain_given_up", {{"exit", EX_SOFTWARE}});
    _exit(EX_SOFTWARE);
  };
  options.statistics = statistics;
  return std::make_unique<SelfProbe>(std::move(options));
}

// Once the folder is ours: the store has locked it.
absl::Status OpenRecords(const v1::ServerConfig& config, const std::string& data_dir,
                         Records* records) {
  ENGRAM_ASSIGN_OR_RETURN(records->losses, LossBook::Open(data_dir));
  ENGRAM_ASSIGN_OR_RETURN(records->audit, AuditLog::Open(data_dir, config.audit()));
  return absl::OkStatus();
}

int Serve(const v1::ServerConfig& config, Authority* authority, storage::Store* store,
          Records* records, const std::string& data_dir) {
  Parts parts(config, authority, store, records);
  const auto backups = BackupJob::Make(config, data_dir, store);
  if (!backups.ok()) return Fail(EX_CONFIG, backups.status());
  parts.edge.backups = backups->get();
  LogServerInfo(parts.edge.fixed_info);
  RemoveEndpointsFile(data_dir);

  // Listening comes first: a port in use is known before a model is touched.
  auto grpc = GrpcServer::Start(absl::GetFlag(FLAGS_listen), parts.edge, &parts.board);
  if (!grpc.ok()) return Fail(ListenExitCode(grpc.status()), grpc.status());
  const Exporter exporter(parts.edge);
  const OwnCalls own_calls((*grpc)->OwnChannel(), authority);
  const RestGateway rest(&own_calls);
  HttpParts http_parts;
  http_parts.metrics = &exporter;
  http_parts.board = &parts.board;
  http_parts.rest = [&rest](const HttpRequest& request) { return rest.Answer(request); };
  const InferenceRest inference(&own_calls);
  http_parts.inference = [&inference](const HttpRequest& request) {
    return inference.Answer(request);
  };
  HttpAccess http_access;
  http_access.authenticated = authority != nullptr;
  http_access.body_patience = parts.edge.streams.part_patience;
  if (config.has_http_tls()) http_access.tls = config.http_tls();
  auto http = HttpServer::Start(absl::GetFlag(FLAGS_http_listen), http_parts, http_access);
  if (!http.ok()) return Fail(ListenExitCode(http.status()), http.status());

  const absl::Status started = StartModels(config, parts.host.get());
  if (!started.ok()) {
    parts.host->Drain(absl::ZeroDuration());
    return Fail(StoreExitCode(started), started);
  }
  for (const auto& model : parts.host->List()) parts.board.Expect(model->name());
  parts.board.Set("", true);
  parts.gate.Open();
  const EndpointsFile endpoints(data_dir, (*grpc)->address(), (*http)->address());
  if (!endpoints.status().ok()) {
    parts.host->Drain(absl::ZeroDuration());
    return Fail(EX_IOERR, endpoints.status());
  }
  std::printf("engramd ready grpc=%s http=%s data_dir=%s\n", (*grpc)->address().c_str(),
              (*http)->address().c_str(), data_dir.c_str());
  std::fflush(stdout);
  NotifySystemd("READY=1");

  const auto probe =
      StartProbe(config, authority, (*grpc)->address(), &parts.quotas, &parts.probe);
  const int signal = AwaitStop(authority, parts.edge, probe.get());
  if (probe != nullptr && signal != 0) probe->Stop();
  NotifySystemd("STOPPING=1");
  Log(LogLevel::kInfo, "draining", {{"signal", signal}});
  Stop(grpc->get(), parts.host.get(), &parts.board);
  Log(LogLevel::kInfo, "stopped");
  return signal == 0 ? EX_SOFTWARE : EX_OK;
}

int Run(char** argv) {
  TakeLibraryLogs();
  const std::string data_dir = absl::GetFlag(FLAGS_data_dir);
  if (data_dir.empty()) return Fail(EX_CONFIG, absl::InvalidArgumentError("--data_dir: required"));
  const auto config = LoadConfig(absl::GetFlag(FLAGS_config));
  if (!config.ok()) return Fail(EX_CONFIG, config.status());
  const auto authority = Authority::Make(*config);
  if (!authority.ok()) return Fail(EX_CONFIG, authority.status());
  const absl::Status listener =
      CheckListener(absl::GetFlag(FLAGS_listen), *config, authority->get());
  if (!listener.ok()) return Fail(EX_CONFIG, listener);
  const absl::Status settled = SettleEnvironment(config->compute_threads(), argv);
  if (!settled.ok()) return Fail(EX_OSERR, settled);

  // Before any thread exists, so that all of them inherit it: only sigwait sees these.
  const sigset_t signals = AwaitedSignals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  umask(077);
  const int64_t open_files = RaiseOpenFileLimit(
      std::max(kOpenFilesWanted, OpenFilesNeeded(config->limits().connections())));
  const absl::Status files = CheckOpenFileLimit(open_files, config->limits().connections());
  if (!files.ok()) return Fail(EX_OSERR, files);
  strategies::SetComputeThreads(config->compute_threads());

  if (mkdir(data_dir.c_str(), 0700) != 0 && errno != EEXIST) {
    return Fail(EX_CANTCREAT, absl::UnavailableError(
                                  absl::StrCat("cannot make ", data_dir, ": ", strerror(errno))));
  }
  storage::StoreOptions store_options;
  store_options.folder = data_dir;
  store_options.queue_bytes_max = config->limits().queue_bytes();
  store_options.disk_reserve_bytes = config->limits().disk_reserve_bytes();
  store_options.checkpoints_max = config->limits().checkpoints();
  store_options.now_ms = [] { return absl::ToUnixMillis(SystemClock()->Anchored()); };
  Records records;
  auto store = storage::OpenStore(store_options);
  if (!store.ok()) return Fail(StoreExitCode(store.status()), store.status());
  (*store)->ObserveHealth([&records](const absl::Status& reason) {
    Log(LogLevel::kError, "storage_read_only", {{"reason", reason}});
    records.board.StopLearning();
  });
  const absl::Status opened = OpenRecords(*config, data_dir, &records);
  if (!opened.ok()) return Fail(StoreExitCode(opened), opened);
  return Serve(*config, authority->get(), store->get(), &records, data_dir);
}

}  // namespace
}  // namespace engram::server

int main(int argc, char** argv) {
  // Debian's Abseil is built to look for lock cycles: gRPC pays with a global lock where it holds
  // two mutexes, some percent of the server's time under a flood.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  absl::SetProgramUsageMessage("the Engram server: engramd --data_dir=DIR [--listen=HOST:PORT]");
  absl::FlagsUsageConfig usage;
  usage.contains_help_flags = [](absl::string_view file) {
    return absl::EndsWith(file, "server/main.cc");
  };
  absl::SetFlagsUsageConfig(usage);
  const absl::Status flags = engram::server::CheckFlags(argc, argv);
  if (!flags.ok()) return engram::server::Fail(EX_CONFIG, flags);
  absl::ParseCommandLine(argc, argv);
  return engram::server::Run(argv);
}
