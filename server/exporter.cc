#include "server/exporter.h"

#include <algorithm>
#include <deque>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/types/optional.h"
#include "server/model_runtime.h"

namespace engram::server {
namespace {

using prometheus::ClientMetric;
using prometheus::MetricFamily;
using prometheus::MetricType;

using Labels = std::vector<ClientMetric::Label>;

constexpr size_t kTasksShown = 50;
constexpr absl::string_view kTuneAccuracyHelp = "Test-then-train accuracy over the tune, unfaded";
constexpr absl::string_view kTuneWinnerHelp = "1 for what the tune decided on";

// Families in the order in which they were first named; one sample a call.
class Page {
 public:
  void Declare(absl::string_view name, MetricType type, absl::string_view help) {
    Family(name, type, help);
  }
  void Counter(absl::string_view name, absl::string_view help, Labels labels, double value) {
    Add(name, MetricType::Counter, help, std::move(labels)).counter.value = value;
  }
  void Gauge(absl::string_view name, absl::string_view help, Labels labels, double value) {
    Add(name, MetricType::Gauge, help, std::move(labels)).gauge.value = value;
  }
  void Latency(absl::string_view name, absl::string_view help, Labels labels,
               const LatencyHistogram& source) {
    ClientMetric& metric = Add(name, MetricType::Histogram, help, std::move(labels));
    const auto buckets = source.Buckets();
    Fill({LatencyHistogram::kBounds.begin(), LatencyHistogram::kBounds.end()},
         {buckets.begin(), buckets.end()}, source.Sum(), &metric.histogram);
  }
  // `counts` has one more element than `bounds`: what lies above the last.
  void Histogram(absl::string_view name, absl::string_view help, Labels labels,
                 const std::vector<double>& bounds, const std::vector<uint64_t>& counts,
                 double sum) {
    Fill(bounds, counts, sum, &Add(name, MetricType::Histogram, help, std::move(labels)).histogram);
  }

  std::vector<MetricFamily> Take() {
    return {std::make_move_iterator(families_.begin()), std::make_move_iterator(families_.end())};
  }

 private:
  MetricFamily& Family(absl::string_view name, MetricType type, absl::string_view help) {
    for (MetricFamily& family : families_) {
      if (family.name == name) return family;
    }
    MetricFamily family;
    family.name = std::string(name);
    family.type = type;
    family.help = std::string(help);
    families_.push_back(std::move(family));
    return families_.back();
  }

  ClientMetric& Add(absl::string_view name, MetricType type, absl::string_view help,
                    Labels labels) {
    MetricFamily& family = Family(name, type, help);
    family.metric.emplace_back();
    family.metric.back().label = std::move(labels);
    return family.metric.back();
  }

  static void Fill(const std::vector<double>& bounds, const std::vector<uint64_t>& counts,
                   double sum, ClientMetric::Histogram* histogram) {
    uint64_t cumulative = 0;
    for (size_t i = 0; i < counts.size(); ++i) {
      cumulative += counts[i];
      const double bound = i < bounds.size() ? bounds[i] : std::numeric_limits<double>::infinity();
      histogram->bucket.push_back({cumulative, bound});
    }
    histogram->sample_count = cumulative;
    histogram->sample_sum = sum;
  }

  std::deque<MetricFamily> families_;
};

// A value a task, in column order; a column without a value is not shown.
void TaskGauges(absl::string_view name, absl::string_view help, const std::string& model,
                const std::vector<std::string>& tasks,
                const std::vector<absl::optional<double>>& values, Page* page) {
  page->Declare(name, MetricType::Gauge, help);
  const size_t hidden = values.size() > kTasksShown ? values.size() - kTasksShown : 0;
  double sum = 0;
  int64_t count = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    if (!values[i].has_value()) continue;
    if (i < hidden) {
      sum += *values[i];
      ++count;
    } else {
      const std::string task = i < tasks.size() ? tasks[i] : absl::StrCat(i);
      page->Gauge(name, help, {{"model", model}, {"task", task}}, *values[i]);
    }
  }
  if (count > 0) {
    page->Gauge(name, help, {{"model", model}, {"task", "other"}},
                sum / static_cast<double>(count));
  }
}

void Optional(absl::string_view name, absl::string_view help, const Labels& labels, bool present,
              double value, Page* page) {
  page->Declare(name, MetricType::Gauge, help);
  if (present) page->Gauge(name, help, labels, value);
}

void AddIngest(const ModelRuntime& model, const ModelStatistics& counts, const Labels& labels,
               Page* page) {
  const struct {
    const char* result;
    const std::atomic<uint64_t>& value;
  } results[] = {{"accepted", counts.accepted_examples},
                 {"duplicate", counts.duplicate_examples},
                 {"rejected", counts.rejected_examples}};
  for (const auto& each : results) {
    Labels with = labels;
    with.push_back({"result", each.result});
    page->Counter("engram_ingest_examples_total", "Examples that came in, by how they ended",
                  std::move(with), static_cast<double>(each.value.load()));
  }
  page->Latency("engram_ingest_append_seconds", "From submission to durable", labels,
                counts.append_seconds);
  page->Gauge("engram_ingest_locked", "1 until an administrator acknowledges a loss", labels,
              model.Losses().empty() ? 0 : 1);
  const uint64_t applied = model.AppliedSequence();
  const uint64_t durable = std::max(model.DurableSequence(), applied);
  page->Gauge("engram_durable_sequence", "Last sequence of the log that is durable", labels,
              static_cast<double>(durable));
  page->Gauge("engram_applied_sequence", "Last sequence that is applied and published", labels,
              static_cast<double>(applied));
  page->Gauge("engram_applied_lag_examples", "Durable records not yet applied", labels,
              static_cast<double>(durable - applied));
}

void AddTraining(const ModelRuntime& model, const ModelStatistics& counts, const Labels& labels,
                 Page* page) {
  const v1::Model described = model.Describe();
  page->Gauge("engram_model_failed", "1 when its trainer stopped on an error, until a restart",
              labels, described.state() == v1::Model::FAILED ? 1 : 0);
  page->Gauge("engram_model_paused", "1 while its training is paused", labels,
              described.paused() ? 1 : 0);
  page->Counter("engram_train_examples_total", "Examples trained on since start", labels,
                static_cast<double>(counts.trained_examples.load()));
  page->Counter("engram_train_steps_total", "Training steps since start", labels,
                static_cast<double>(counts.steps.load()));
  page->Counter("engram_train_skipped_batches_total",
                "Batches that the guard kept away from the weights", labels,
                static_cast<double>(counts.skipped_batches.load()));
  constexpr absl::string_view kSetAsideHelp = "Examples set aside since start, by why";
  for (const auto& [reason, name] :
       {std::pair{v1::QuarantinedExample::LABEL_DISAGREES, "label_disagrees"},
        std::pair{v1::QuarantinedExample::OUTLIER, "outlier"},
        std::pair{v1::QuarantinedExample::STEP_SKIPPED, "step_skipped"}}) {
    Labels with = labels;
    with.push_back({"reason", name});
    page->Counter("engram_quarantined_examples_total", kSetAsideHelp, std::move(with),
                  static_cast<double>(counts.set_aside[reason].load()));
  }
  page->Gauge("engram_quarantined_examples", "Examples in quarantine", labels,
              static_cast<double>(counts.quarantined.load()));
  page->Gauge("engram_train_batch_wait_seconds",
              "A partial batch is trained after so long; 0: it waits to be filled", labels,
              static_cast<double>(model.spec()->max_batch_wait_ms()) / 1000);
  page->Latency("engram_train_step_seconds", "One training step", labels, counts.step_seconds);
  page->Gauge("engram_train_loss", "Loss of the last step, before its update", labels,
              counts.train_loss.load());
}

void AddReport(const v1::Report& report, const std::string& model, const Labels& labels,
               Page* page) {
  Optional("engram_prequential_accuracy_ratio", "Test-then-train accuracy, faded", labels,
           report.has_prequential_accuracy(), report.prequential_accuracy(), page);
  std::vector<std::string> tasks;
  std::vector<absl::optional<double>> latest, best, forgotten;
  for (const v1::TaskReport& task : report.tasks()) {
    tasks.push_back(task.task());
    latest.push_back(task.has_accuracy() ? absl::make_optional(task.accuracy()) : absl::nullopt);
    best.push_back(task.has_best_accuracy() ? absl::make_optional(task.best_accuracy())
                                            : absl::nullopt);
    forgotten.push_back(task.has_forgetting() ? absl::make_optional(task.forgetting())
                                              : absl::nullopt);
  }
  TaskGauges("engram_task_accuracy_ratio", "Accuracy on the task's held-out set", model, tasks,
             latest, page);
  TaskGauges("engram_task_best_accuracy_ratio", "Best accuracy the task ever had", model, tasks,
             best, page);
  TaskGauges("engram_forgetting_ratio", "Best accuracy before now, less the accuracy now", model,
             tasks, forgotten, page);
  const v1::Summary& summary = report.summary();
  Optional("engram_average_accuracy_ratio", "ACC: mean accuracy over tasks", labels,
           summary.has_acc(), summary.acc(), page);
  Optional("engram_average_forgetting_ratio", "Mean forgetting over earlier tasks", labels,
           summary.has_forgetting(), summary.forgetting(), page);
  Optional("engram_backward_transfer_ratio", "BWT", labels, summary.has_bwt(), summary.bwt(), page);
  Optional("engram_forward_transfer_ratio", "FWT", labels, summary.has_fwt(), summary.fwt(), page);
  page->Gauge("engram_tasks", "Tasks seen: columns of R", labels, report.tasks_size());
}

void AddScore(const v1::TuneReport::Score& score, const Labels& labels, bool chosen, Page* page) {
  Labels with = labels;
  with.push_back({"candidate", score.name()});
  if (score.has_accuracy()) {
    page->Gauge("engram_tune_accuracy_ratio", kTuneAccuracyHelp, with, score.accuracy());
  }
  page->Gauge("engram_tune_winner", kTuneWinnerHelp, std::move(with), chosen ? 1 : 0);
}

void AddTune(const v1::TuneReport& tune, const ModelStatistics& counts, const Labels& labels,
             Page* page) {
  page->Declare("engram_tune_accuracy_ratio", MetricType::Gauge, kTuneAccuracyHelp);
  page->Declare("engram_tune_winner", MetricType::Gauge, kTuneWinnerHelp);
  int64_t learning = 0;
  const bool running = tune.state() == v1::TuneReport::RUNNING;
  if (tune.state() != v1::TuneReport::STATE_UNSPECIFIED) {
    const bool decided = !running && tune.state() != v1::TuneReport::STOPPED;
    AddScore(tune.own(), labels, decided && tune.winner() == 0, page);
    for (int i = 0; i < tune.candidates_size(); ++i) {
      AddScore(tune.candidates(i), labels, decided && tune.winner() == i + 1, page);
      const bool waits = tune.state() == v1::TuneReport::DECIDED && tune.winner() == i + 1;
      learning += (running && tune.candidates(i).dropped().empty()) || waits ? 1 : 0;
    }
  }
  page->Gauge("engram_tune_running", "1 while the tune is not decided", labels, running ? 1 : 0);
  page->Gauge("engram_tune_candidates", "Candidates that learn in the model's shadow", labels,
              static_cast<double>(learning));
  page->Counter("engram_tune_train_seconds_total", "Time that candidates took to learn since start",
                labels, counts.tune_seconds.load());
}

void AddMemory(const ModelRuntime& model, const v1::Report& report, const ModelStatistics& counts,
               const Labels& labels, Page* page) {
  Labels client = labels, drift = labels;
  client.push_back({"source", "client"});
  drift.push_back({"source", "drift"});
  constexpr absl::string_view kHelp = "Boundaries since start, by who set them";
  page->Counter("engram_boundaries_total", kHelp, std::move(client),
                static_cast<double>(counts.client_boundaries.load()));
  page->Counter("engram_boundaries_total", kHelp, std::move(drift),
                static_cast<double>(counts.drift_boundaries.load()));
  const strategies::LearnerGauges gauges = model.Gauges();
  std::vector<std::string> tasks;
  for (const v1::TaskReport& task : report.tasks()) tasks.push_back(task.task());
  std::vector<absl::optional<double>> exemplars;
  for (const int64_t held : gauges.episodic_by_task) exemplars.push_back(static_cast<double>(held));
  TaskGauges("engram_episodic_examples", "Exemplars in the replay memory", model.name(), tasks,
             exemplars, page);
  page->Gauge("engram_episodic_bytes", "Bytes of episodic memory", labels,
              static_cast<double>(gauges.episodic_bytes));
  page->Gauge("engram_importance_snapshots", "Consolidations in the penalty", labels,
              static_cast<double>(gauges.importance_snapshots));
  constexpr absl::string_view kOwnHelp = "What only the model's strategies have, by name";
  page->Declare("engram_strategy_gauge", MetricType::Gauge, kOwnHelp);
  for (const auto& [gauge, value] : gauges.named) {
    Labels own = labels;
    own.push_back({"gauge", gauge});
    page->Gauge("engram_strategy_gauge", kOwnHelp, std::move(own), value);
  }
}

void AddServing(const ModelRuntime& model, const ModelStatistics& counts, const Labels& labels,
                Page* page) {
  page->Gauge("engram_model_version", "Applied sequence of the served snapshot", labels,
              static_cast<double>(model.AppliedSequence()));
  page->Gauge("engram_model_published_timestamp_seconds", "When it was published", labels,
              counts.published_unix_seconds.load());
  page->Latency("engram_predict_seconds", "A prediction call inside the server", labels,
                counts.predict_seconds);
  std::vector<double> bounds;
  std::vector<uint64_t> rows;
  for (size_t i = 0; i < counts.predict_batch_size.size(); ++i) {
    if (i + 1 < counts.predict_batch_size.size()) bounds.push_back(static_cast<double>(1u << i));
    rows.push_back(counts.predict_batch_size[i].load());
  }
  page->Histogram("engram_predict_batch_size", "Rows of a prediction call", labels, bounds, rows,
                  static_cast<double>(counts.predict_rows.load()));
}

void AddCheckpoints(const ModelRuntime& model, const Labels& labels, Page* page) {
  const auto kept = model.ListCheckpoints();
  Optional("engram_checkpoints", "Checkpoints kept", labels, kept.ok(),
           kept.ok() ? static_cast<double>(kept->size()) : 0, page);
  const bool any = kept.ok() && !kept->empty();
  // Newest applied sequence first.
  const v1::Checkpoint newest = any ? kept->front() : v1::Checkpoint();
  Optional("engram_checkpoint_newest_sequence", "Applied sequence of the newest checkpoint",
           labels, any, static_cast<double>(newest.applied_sequence()), page);
  Optional("engram_checkpoint_newest_timestamp_seconds", "When it was made", labels, any,
           static_cast<double>(newest.create_time_ms()) / 1000, page);
  page->Gauge("engram_checkpoint_every_examples", "The model's spec: one is made this often",
              labels, static_cast<double>(model.spec()->checkpoint_every_examples()));
}

void AddDurability(const ModelRuntime& model, const ModelStatistics& counts, const Labels& labels,
                   Page* page) {
  page->Latency("engram_checkpoint_seconds", "From saving to the committed row", labels,
                counts.checkpoint_seconds);
  page->Gauge("engram_checkpoint_bytes", "Tensor file of the last checkpoint", labels,
              static_cast<double>(counts.last_checkpoint_bytes.load()));
  AddCheckpoints(model, labels, page);
  Labels manual = labels, automatic = labels;
  manual.push_back({"trigger", "manual"});
  automatic.push_back({"trigger", "auto"});
  constexpr absl::string_view kHelp = "Rollbacks since start";
  page->Counter("engram_rollbacks_total", kHelp, std::move(manual),
                static_cast<double>(counts.manual_rollbacks.load()));
  page->Counter("engram_rollbacks_total", kHelp, std::move(automatic),
                static_cast<double>(counts.automatic_rollbacks.load()));
  page->Counter("engram_canary_drops_total", "Tasks that fell further than spec.guard allows",
                labels, static_cast<double>(counts.canary_drops.load()));
  page->Gauge("engram_canary_drop", "Best accuracy less the last, of the task that lost most",
              labels, counts.canary_drop.load());
  page->Counter("engram_erasures_total", "Erasures done since start that found something", labels,
                static_cast<double>(counts.erasures.load()));
  page->Counter("engram_erased_examples_total", "Examples that they erased", labels,
                static_cast<double>(counts.erased_examples.load()));
  page->Gauge("engram_recovery_seconds", "Time the last start took to recover the model", labels,
              counts.recovery_seconds.load());
  page->Gauge("engram_recovery_replayed_examples", "Examples it replayed from the log", labels,
              static_cast<double>(counts.recovery_replayed_examples.load()));
}

void AddRpcs(const RpcStatistics& rpcs, Page* page) {
  constexpr absl::string_view kName = "engram_rpc_server_duration_seconds";
  constexpr absl::string_view kHelp = "Calls, from the first byte handled to the status";
  page->Declare(kName, MetricType::Histogram, kHelp);
  for (size_t rpc = 0; rpc < kRpcs.size(); ++rpc) {
    for (size_t code = 0; code < RpcStatistics::kCodes; ++code) {
      const LatencyHistogram& histogram = rpcs.Of(rpc, code);
      const auto buckets = histogram.Buckets();
      if (std::all_of(buckets.begin(), buckets.end(), [](uint64_t n) { return n == 0; })) continue;
      page->Latency(kName, kHelp,
                    {{"method", std::string(kRpcs[rpc].name)},
                     {"code", absl::StatusCodeToString(static_cast<absl::StatusCode>(code))}},
                    histogram);
    }
  }
}

void AddOperations(const Edge& edge, Page* page) {
  if (edge.probe != nullptr) {
    constexpr absl::string_view kName = "engram_self_probes_total";
    constexpr absl::string_view kHelp = "Calls of the server to its own listener";
    page->Counter(kName, kHelp, {{"result", "pass"}},
                  static_cast<double>(edge.probe->passes.load()));
    page->Counter(kName, kHelp, {{"result", "miss"}},
                  static_cast<double>(edge.probe->misses.load()));
  }
  if (edge.audit != nullptr) {
    page->Counter("engram_audit_lost_total", "Audit entries that are only in the log, or dropped",
                  {}, static_cast<double>(edge.audit->lost()));
  }
}

void AddProcess(const absl::optional<ProcessUsage>& at_start, Page* page) {
  const absl::optional<ProcessUsage> now = MeasureProcess();
  if (!at_start.has_value() || !now.has_value()) return;
  page->Gauge("process_start_time_seconds", "When the process started", {},
              at_start->start_unix_seconds);
  page->Counter("process_cpu_seconds_total", "Processor time, user and system", {},
                now->cpu_seconds);
  page->Gauge("process_resident_memory_bytes", "Memory in RAM", {},
              static_cast<double>(now->resident_bytes));
  page->Gauge("process_threads", "Threads", {}, static_cast<double>(now->threads));
  page->Gauge("process_open_fds", "Open file descriptors", {},
              static_cast<double>(now->open_files));
  page->Gauge("process_max_fds", "How many it may have open", {},
              static_cast<double>(now->open_files_max));
}

void AddStorage(const ModelHost& host, int64_t reserve_bytes, Page* page) {
  page->Gauge("engram_storage_read_only", "1 when nothing can be learned until a restart", {},
              host.ReadOnlyReason().empty() ? 0 : 1);
  const storage::StoreStatistics counts = host.store().Statistics();
  page->Counter("engram_storage_scrubbed_bytes_total", "Read again to see that they are whole", {},
                static_cast<double>(counts.scrubbed_bytes));
  page->Counter("engram_storage_damaged_files_total", "Found damaged by scrubs", {},
                static_cast<double>(counts.damaged_files));
  page->Gauge("engram_storage_free_bytes", "Free on the disk of the data folder", {},
              static_cast<double>(counts.disk_free_bytes));
  page->Gauge("engram_storage_size_bytes", "Size of that disk", {},
              static_cast<double>(counts.disk_total_bytes));
  page->Gauge("engram_storage_reserve_bytes", "Nothing is learned while less than this is free", {},
              static_cast<double>(reserve_bytes));
}

void AddQuotas(const QuotaLedger& quotas, Page* page) {
  page->Gauge("engram_connections", "Open on the gRPC listener", {},
              static_cast<double>(quotas.connections()));
  page->Gauge("engram_in_flight_bytes", "Of messages that are not durable yet", {},
              static_cast<double>(quotas.in_flight_bytes()));
  for (size_t kind = 0; kind < kQuotaNames.size(); ++kind) {
    page->Counter("engram_limit_met_total", "Calls refused and streams held up, by the limit met",
                  {{"limit", std::string(kQuotaNames[kind])}},
                  static_cast<double>(quotas.met(static_cast<QuotaKind>(kind))));
  }
}

void AddBackups(const BackupJob& backups, Page* page) {
  const BackupCounts counts = backups.Counts();
  page->Gauge("engram_backups", "Whole backups kept", {}, static_cast<double>(counts.kept));
  page->Counter("engram_backup_failures_total", "Backups that were begun and not made, since start",
                {}, static_cast<double>(counts.failures));
  const bool any = counts.kept > 0;
  Optional("engram_backup_newest_timestamp_seconds", "When the newest backup was begun", {}, any,
           static_cast<double>(counts.newest_time_ms) / 1000, page);
  Optional("engram_backup_newest_bytes", "What the newest backup holds", {}, any,
           static_cast<double>(counts.newest_bytes), page);
  const bool made = counts.last_seconds > 0;
  Optional("engram_backup_seconds", "How long the last one since start took", {}, made,
           counts.last_seconds, page);
  Optional("engram_backup_pause_seconds", "How long writes waited for it", {}, made,
           counts.last_pause_seconds, page);
}

}  // namespace

std::vector<MetricFamily> Exporter::Collect() const {
  Page page;
  page.Gauge("engram_build_info", "What this server is made of; always 1",
             {{"version", edge_.fixed_info.version()},
              {"libtorch", edge_.fixed_info.libtorch()},
              {"blas", edge_.fixed_info.blas_path()}},
             1);
  AddProcess(at_start_, &page);
  AddStorage(*edge_.host, CurrentConfig(edge_)->limits().disk_reserve_bytes(), &page);
  if (edge_.backups != nullptr) AddBackups(*edge_.backups, &page);
  AddOperations(edge_, &page);
  AddRpcs(*edge_.rpcs, &page);
  AddQuotas(*edge_.quotas, &page);
  for (const std::shared_ptr<ModelRuntime>& model : edge_.host->List()) {
    const Labels labels = {{"model", model->name()}};
    const ModelStatistics& counts = model->statistics();
    const v1::Report report = model->Report();
    AddIngest(*model, counts, labels, &page);
    AddTraining(*model, counts, labels, &page);
    AddReport(report, model->name(), labels, &page);
    AddTune(report.tune(), counts, labels, &page);
    AddMemory(*model, report, counts, labels, &page);
    AddServing(*model, counts, labels, &page);
    AddDurability(*model, counts, labels, &page);
  }
  return page.Take();
}

}  // namespace engram::server
