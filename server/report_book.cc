#include "server/report_book.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/applied_waiters.h"
#include "strategies/api/forgetting.h"

namespace engram::server {
namespace {

using strategies::ForgettingReport;

constexpr size_t kCanariesKept = 16;
constexpr size_t kClassesShown = 1000;

absl::optional<double> CellAccuracy(const v1::AccuracyRow::Cell& cell, bool within_task) {
  if (within_task ? !cell.has_task_accuracy() : !cell.has_accuracy()) return absl::nullopt;
  return within_task ? cell.task_accuracy() : cell.accuracy();
}

void FillSummary(const ForgettingReport& from, v1::Summary* summary) {
  if (from.acc) summary->set_acc(*from.acc);
  if (from.bwt) summary->set_bwt(*from.bwt);
  if (from.fwt) summary->set_fwt(*from.fwt);
  if (from.average_forgetting) summary->set_forgetting(*from.average_forgetting);
}

// Those with exemplars, in class order.
std::vector<v1::ClassExemplars> NameClasses(const std::vector<int64_t>& by_class,
                                            const internal::StreamState& state) {
  std::vector<v1::ClassExemplars> classes;
  const size_t named = std::min(by_class.size(), static_cast<size_t>(state.labels_size()));
  for (size_t i = 0; i < named && classes.size() < kClassesShown; ++i) {
    if (by_class[i] == 0) continue;
    classes.emplace_back();
    *classes.back().mutable_label() = state.labels(static_cast<int>(i));
    classes.back().set_exemplars(by_class[i]);
  }
  return classes;
}

}  // namespace

absl::Status ReportBook::Load(
    const std::vector<std::pair<storage::Sequence, std::string>>& rows) {
  for (const auto& stored : rows) {
    internal::ReportRow row;
    if (!row.ParseFromString(stored.second)) {
      return absl::DataLossError(absl::StrCat("report row ", stored.first, " does not parse"));
    }
    if (row.has_rolled_back()) {
      AddRollback(row.rolled_back());
    } else {
      AddRow(row);
    }
  }
  return absl::OkStatus();
}

bool ReportBook::Has(uint64_t sequence) const {
  base::MutexLock lock(&mutex_);
  return rows_.count(sequence) > 0 || rollbacks_.count(sequence) > 0;
}

void ReportBook::OpenBoundary(uint64_t sequence, const std::string& ended_task) {
  base::MutexLock lock(&mutex_);
  open_[sequence] = ended_task;
}

void ReportBook::DropBoundary(uint64_t sequence) {
  base::MutexLock lock(&mutex_);
  open_.erase(sequence);
}

uint64_t ReportBook::OldestOpenBoundary() const {
  base::MutexLock lock(&mutex_);
  return open_.empty() ? AppliedWaiters::kNoneOpen : open_.begin()->first;
}

void ReportBook::AddRow(const internal::ReportRow& row) {
  v1::ReportEvent event;
  {
    base::MutexLock lock(&mutex_);
    rows_[row.accuracy().sequence()] = row.accuracy();
    open_.erase(row.accuracy().sequence());
    for (const auto& baseline : row.baselines()) {
      baselines_[baseline.task()] = {baseline.accuracy(), baseline.task_accuracy()};
    }
    *event.mutable_evaluated()->mutable_row() = row.accuracy();
    event.mutable_evaluated()->mutable_row()->set_undone_by(
        UndoneBy(rewinds_, row.accuracy().sequence()));
  }
  Emit(event);
}

void ReportBook::AddRollback(const v1::ReportEvent::RolledBack& rollback) {
  {
    base::MutexLock lock(&mutex_);
    rollbacks_[rollback.sequence()] = rollback;
  }
  v1::ReportEvent event;
  *event.mutable_rolled_back() = rollback;
  Emit(event);
}

void ReportBook::SetLive(const v1::AccuracyRow& row) {
  {
    base::MutexLock lock(&mutex_);
    live_ = row;
  }
  v1::ReportEvent event;
  *event.mutable_evaluated()->mutable_row() = row;
  event.mutable_evaluated()->set_live(true);
  Emit(event);
}

void ReportBook::AddCanary(const v1::ReportEvent::Canary& canary) {
  {
    base::MutexLock lock(&mutex_);
    canaries_.push_back(canary);
    if (canaries_.size() > kCanariesKept) canaries_.pop_front();
  }
  v1::ReportEvent event;
  *event.mutable_canary() = canary;
  Emit(event);
}

Rewinds ReportBook::CurrentRewinds() const {
  base::MutexLock lock(&mutex_);
  return rewinds_;
}

void ReportBook::AnnounceCheckpoint(const std::string& id, uint64_t applied) {
  v1::ReportEvent event;
  event.mutable_checkpoint()->set_id(id);
  event.mutable_checkpoint()->set_applied_sequence(applied);
  Emit(event);
}

void ReportBook::AnnounceReport(const v1::Report& report) {
  v1::ReportEvent event;
  *event.mutable_report() = report;
  Emit(event);
}

void ReportBook::SetStream(uint64_t version, const StreamState& state,
                           const strategies::LearnerGauges& gauges) {
  std::vector<v1::ClassExemplars> classes = NameClasses(gauges.episodic_by_class, state.proto());
  base::MutexLock lock(&mutex_);
  version_ = version;
  counters_ = state.Counters();
  tune_ = state.proto().tune().report();
  train_examples_ = state.proto().train_examples();
  columns_.resize(state.proto().tasks_size());
  for (int i = 0; i < state.proto().tasks_size(); ++i) {
    columns_[i].train_examples = state.proto().tasks(i).train_examples();
    if (columns_[i].name.empty()) columns_[i].name = state.proto().tasks(i).name();
    const size_t column = static_cast<size_t>(i);
    columns_[i].exemplars =
        column < gauges.episodic_by_task.size() ? gauges.episodic_by_task[column] : 0;
  }
  classes_ = std::move(classes);
  if (rewinds_.size() != state.proto().rewinds_size()) {
    rewinds_ = state.proto().rewinds();
    live_.Clear();  // measured on what the rollback undid
  }
}

std::vector<int32_t> ReportBook::ColumnsWithoutBaseline(const StreamState& state) const {
  base::MutexLock lock(&mutex_);
  std::vector<int32_t> columns;
  for (int i = 0; i < state.proto().tasks_size(); ++i) {
    if (state.proto().tasks(i).train_examples() == 0 && baselines_.count(i) == 0) {
      columns.push_back(i);
    }
  }
  return columns;
}

std::vector<std::string> ReportBook::UndoneWith(const Rewinds& rewinds) const {
  base::MutexLock lock(&mutex_);
  std::map<uint64_t, std::string> names = open_;
  for (const auto& row : rows_) names[row.first] = row.second.ended_task();
  std::vector<std::string> undone;
  for (const auto& entry : names) {
    if (UndoneBy(rewinds_, entry.first) == 0 && UndoneBy(rewinds, entry.first) != 0) {
      undone.push_back(entry.second);
    }
  }
  return undone;
}

v1::Report ReportBook::Report(
    uint64_t durable, const absl::flat_hash_map<std::string, int64_t>& held_out) const {
  base::MutexLock lock(&mutex_);
  v1::Report report;
  report.set_model(model_);
  report.set_model_version(version_);
  report.set_durable_sequence(durable);
  for (const auto& entry : rows_) {
    v1::AccuracyRow* row = report.add_rows();
    *row = entry.second;
    row->set_undone_by(UndoneBy(rewinds_, entry.first));
  }
  for (size_t i = 0; i < columns_.size(); ++i) {
    v1::TaskReport* task = report.add_tasks();
    task->set_task(columns_[i].name);
    task->set_train_examples(columns_[i].train_examples);
    task->set_exemplars(columns_[i].exemplars);
    auto rows = held_out.find(columns_[i].name);
    if (rows != held_out.end()) task->set_held_out_rows(rows->second);
    auto baseline = baselines_.find(static_cast<int32_t>(i));
    if (baseline != baselines_.end()) task->set_baseline(baseline->second.accuracy);
  }
  FillSummaries(&report);
  FillLatest(&report);
  if (counters_.prequential_weight > 0) {
    report.set_prequential_accuracy(counters_.prequential_correct / counters_.prequential_weight);
  }
  report.set_prequential_examples(counters_.prequential_examples);
  report.set_prequential_hits(counters_.prequential_hits);
  report.set_train_examples(train_examples_);
  report.set_skipped_batches(counters_.skipped_batches);
  if (tune_.state() != v1::TuneReport::STATE_UNSPECIFIED) *report.mutable_tune() = tune_;
  report.set_pending_evaluations(static_cast<int32_t>(open_.size()));
  for (const auto& rollback : rollbacks_) {
    *report.add_rollbacks() = rollback.second;
    report.set_dropped_examples(report.dropped_examples() + rollback.second.dropped_examples());
  }
  for (const auto& canary : canaries_) *report.add_canaries() = canary;
  for (const auto& each : classes_) *report.add_classes() = each;
  return report;
}

v1::TuneReport ReportBook::Tune() const {
  base::MutexLock lock(&mutex_);
  return tune_;
}

void ReportBook::FillSummaries(v1::Report* report) const {
  for (bool within_task : {false, true}) {
    std::vector<strategies::AccuracyRow> rows;
    for (const v1::AccuracyRow& row : report->rows()) {
      if (row.undone_by() != 0) continue;
      strategies::AccuracyRow out;
      for (size_t i = 0; i < columns_.size(); ++i) {
        if (columns_[i].name == row.ended_task()) out.ended_task = static_cast<int32_t>(i);
        out.accuracy.push_back(static_cast<int>(i) < row.cells_size()
                                   ? CellAccuracy(row.cells(static_cast<int>(i)), within_task)
                                   : absl::nullopt);
      }
      rows.push_back(std::move(out));
    }
    std::vector<absl::optional<double>> baseline(columns_.size());
    for (const auto& entry : baselines_) {
      if (entry.first >= static_cast<int32_t>(columns_.size())) continue;
      baseline[entry.first] =
          within_task ? entry.second.task_accuracy : entry.second.accuracy;
    }
    const ForgettingReport summary = strategies::Summarize(rows, baseline);
    FillSummary(summary, within_task ? report->mutable_task_summary() : report->mutable_summary());
    if (within_task) continue;
    for (int i = 0; i < report->tasks_size(); ++i) {
      v1::TaskReport* task = report->mutable_tasks(i);
      if (i < static_cast<int>(summary.best.size()) && summary.best[i]) {
        task->set_best_accuracy(*summary.best[i]);
      }
      if (i < static_cast<int>(summary.forgetting.size()) && summary.forgetting[i]) {
        task->set_forgetting(*summary.forgetting[i]);
      }
      if (i < static_cast<int>(summary.last.size()) && summary.last[i]) {
        task->set_accuracy(*summary.last[i]);
      }
    }
  }
}

// A live evaluation newer than the last boundary that stands is the latest word.
void ReportBook::FillLatest(v1::Report* report) const {
  uint64_t last = 0;
  for (const v1::AccuracyRow& row : report->rows()) {
    if (row.undone_by() == 0) last = row.sequence();
  }
  if (live_.sequence() <= last) return;
  for (int i = 0; i < report->tasks_size() && i < live_.cells_size(); ++i) {
    if (live_.cells(i).has_accuracy()) {
      report->mutable_tasks(i)->set_accuracy(live_.cells(i).accuracy());
    }
  }
}

uint64_t ReportBook::Watch(const v1::Report& now, Observer observer) {
  base::MutexLock lock(&observers_mutex_);
  v1::ReportEvent event;
  *event.mutable_report() = now;
  observer(event);
  observers_[next_observer_] = std::move(observer);
  return next_observer_++;
}

void ReportBook::Unwatch(uint64_t id) {
  base::MutexLock lock(&observers_mutex_);
  observers_.erase(id);
}

void ReportBook::Emit(const v1::ReportEvent& event) {
  base::MutexLock lock(&observers_mutex_);
  for (const auto& observer : observers_) observer.second(event);
}

}  // namespace engram::server
