#include "client/report_text.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/table.h"

namespace engram::client {
namespace {

using engram::v1::AccuracyRow;
using engram::v1::Report;
using engram::v1::ReportEvent;
using engram::v1::Summary;
using engram::v1::TaskReport;

constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();

double AccuracyOf(const AccuracyRow::Cell& cell, bool task_incremental) {
  if (task_incremental) return cell.has_task_accuracy() ? cell.task_accuracy() : kAbsent;
  return cell.has_accuracy() ? cell.accuracy() : kAbsent;
}

bool HasTaskIncremental(const Report& report) {
  for (const AccuracyRow& row : report.rows()) {
    for (const auto& cell : row.cells()) {
      if (cell.has_task_accuracy()) return true;
    }
  }
  return false;
}

std::string TasksText(const Report& report) {
  Table table({"task", "examples", "held out", "accuracy %", "best %", "forgetting %", "R0 %"});
  for (const TaskReport& task : report.tasks()) {
    table.Add({task.task(), absl::StrCat(task.train_examples()), absl::StrCat(task.held_out_rows()),
               Percent(task.has_accuracy() ? task.accuracy() : kAbsent),
               Percent(task.has_best_accuracy() ? task.best_accuracy() : kAbsent),
               Percent(task.has_forgetting() ? task.forgetting() : kAbsent),
               Percent(task.has_baseline() ? task.baseline() : kAbsent)});
  }
  return table.Text();
}

std::string RollbackText(const ReportEvent::RolledBack& rollback) {
  return absl::StrCat("rolled back to ", rollback.checkpoint(), " (version ",
                      rollback.restored_sequence(), "), ", rollback.dropped_examples(),
                      " examples dropped, record ", rollback.sequence());
}

std::string CanaryText(const ReportEvent::Canary& canary) {
  const std::string fell = absl::StrCat(
      "canary      ", canary.task(), " fell from ", Percent(canary.best()), " to ",
      Percent(canary.now()), " at version ", canary.version(), " on ", canary.held_out_rows(),
      " held-out rows");
  if (canary.outcome() == ReportEvent::Canary::REPORTED) return fell;
  return absl::StrCat(fell, ", going back to ", canary.checkpoint(),
                      canary.outcome() == ReportEvent::Canary::ROLLBACK ? "" : " and pausing");
}

std::string RowText(const AccuracyRow& row) {
  std::vector<std::string> cells;
  for (const auto& cell : row.cells()) cells.push_back(Percent(AccuracyOf(cell, false)));
  return absl::StrJoin(cells, " ");
}

}  // namespace

std::string MatrixText(const Report& report, bool task_incremental) {
  std::vector<std::string> header = {"after"};
  for (const TaskReport& task : report.tasks()) header.push_back(task.task());
  Table table(std::move(header));
  for (const AccuracyRow& row : report.rows()) {
    std::vector<std::string> cells = {
        row.undone_by() == 0
            ? row.ended_task()
            : absl::StrCat(row.ended_task(), " (undone by rollback ", row.undone_by(), ")")};
    for (const auto& cell : row.cells()) {
      cells.push_back(Percent(AccuracyOf(cell, task_incremental)));
    }
    table.Add(std::move(cells));
  }
  return table.Text();
}

std::string SummaryText(const Summary& summary) {
  return absl::StrCat("ACC ", Percent(summary.has_acc() ? summary.acc() : kAbsent), "  BWT ",
                      Percent(summary.has_bwt() ? summary.bwt() : kAbsent), "  FWT ",
                      Percent(summary.has_fwt() ? summary.fwt() : kAbsent), "  forgetting ",
                      Percent(summary.has_forgetting() ? summary.forgetting() : kAbsent));
}

std::string DefinitionsText() {
  return "R[i][j]     accuracy on task j's held-out rows after learning task i\n"
         "ACC         mean over j of R[T][j], the last row\n"
         "BWT         mean over j<T of R[T][j] - R[j][j]; below 0 is forgetting\n"
         "FWT         mean over i>=2 of R[i-1][i] - R0[i], R0 = before any learning\n"
         "forgetting  mean over j<T of max(l<T) R[l][j] - R[T][j]\n";
}

std::string ReportText(const Report& report) {
  std::string text =
      absl::StrCat("model ", report.model(), "  version ", report.model_version(), "  durable ",
                   report.durable_sequence(), "  examples ", report.train_examples(), "  dropped ",
                   report.dropped_examples(), "  skipped batches ", report.skipped_batches(), "\n");
  if (report.has_prequential_accuracy()) {
    absl::StrAppend(&text, "prequential accuracy ", Percent(report.prequential_accuracy()),
                    " % (test-then-train, about the last ",
                    std::min<int64_t>(1000, report.prequential_examples()), " of ",
                    report.prequential_examples(), " examples)\n");
  }
  if (report.pending_evaluations() > 0) {
    absl::StrAppend(&text, report.pending_evaluations(), " boundaries are still being evaluated\n");
  }
  for (const auto& rollback : report.rollbacks()) {
    absl::StrAppend(&text, RollbackText(rollback), "\n");
  }
  for (const auto& canary : report.canaries()) {
    absl::StrAppend(&text, CanaryText(canary), "\n");
  }
  if (report.tasks_size() > 0) absl::StrAppend(&text, "\n", TasksText(report));
  if (report.rows_size() > 0) {
    absl::StrAppend(&text, "\nR, % over all classes seen:\n", MatrixText(report, false), "\n",
                    SummaryText(report.summary()), "\n");
    if (HasTaskIncremental(report)) {
      absl::StrAppend(&text, "\nR, % within the task's own classes:\n", MatrixText(report, true),
                      "\n", SummaryText(report.task_summary()), "\n");
    }
    absl::StrAppend(&text, "\n", DefinitionsText());
  }
  return text;
}

std::string EventText(const ReportEvent& event) {
  switch (event.kind_case()) {
    case ReportEvent::kReport: {
      const Report& report = event.report();
      return absl::StrCat(
          "report      version ", report.model_version(), "  durable ", report.durable_sequence(),
          "  examples ", report.train_examples(), "  prequential ",
          Percent(report.has_prequential_accuracy() ? report.prequential_accuracy() : kAbsent),
          "  ", SummaryText(report.summary()));
    }
    case ReportEvent::kEvaluated: {
      const AccuracyRow& row = event.evaluated().row();
      const std::string when = event.evaluated().live() ? absl::StrCat("live at ", row.sequence())
                                                        : absl::StrCat("after ", row.ended_task());
      return absl::StrCat("evaluated   ", when, ": ", RowText(row));
    }
    case ReportEvent::kCheckpoint:
      return absl::StrCat("checkpoint  ", event.checkpoint().id(), "  version ",
                          event.checkpoint().applied_sequence());
    case ReportEvent::kRolledBack:
      return RollbackText(event.rolled_back());
    case ReportEvent::kCanary:
      return CanaryText(event.canary());
    case ReportEvent::KIND_NOT_SET:
      return "unknown event";
  }
  return "unknown event";
}

}  // namespace engram::client
