#include "client/scenario/run_verb.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/flags.h"
#include "client/progress.h"
#include "client/report_text.h"
#include "client/scenario/run_journal.h"
#include "client/scenario/run_plan.h"
#include "client/scenario/run_report.h"
#include "client/scenario/scenario.h"
#include "client/scenario/seeds.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

using client::Json;
using client::VerbContext;

// The runs of one command line.
class Runs {
 public:
  Runs(const VerbContext& context, const RunPlan& plan, const datasets::RowSplit& source,
       const Runner& runner)
      : context_(context), plan_(plan), source_(source), runner_(runner) {}

  absl::Status Go() {
    if (!plan_.resume_file.empty()) {
      ENGRAM_ASSIGN_OR_RETURN(journal_, RunJournal::Open(plan_.resume_file));
      rows_fingerprint_ = RowsFingerprint(source_);
    }
    for (const std::vector<RunOptions>& seeds : plan_.strategies) {
      strategies_.emplace_back();
      for (const RunOptions& options : seeds) {
        ENGRAM_ASSIGN_OR_RETURN(RunFigures figures, RunOnce(options));
        strategies_.back().push_back(std::move(figures));
      }
      if (plan_.seeds && context_.json) PrintJson(context_, SummaryJson(strategies_.back()));
    }
    if (!context_.json) PrintTables();
    return absl::OkStatus();
  }

 private:
  // Unless the journal has it already.
  absl::StatusOr<RunFigures> RunOnce(const RunOptions& options) {
    ENGRAM_ASSIGN_OR_RETURN(const Scenario scenario, MakeRunScenario(options, source_));
    if (journal_ == nullptr) return RunNew(options, scenario, "");
    ENGRAM_ASSIGN_OR_RETURN(const std::string fingerprint,
                            RunFingerprint(options, scenario, rows_fingerprint_));
    const Json* known = journal_->Find(fingerprint);
    if (known == nullptr) return RunNew(options, scenario, fingerprint);
    PrintKnown(*known);
    return FiguresOf(*known);
  }

  absl::StatusOr<RunFigures> RunNew(const RunOptions& options, const Scenario& scenario,
                                    const std::string& fingerprint) {
    ENGRAM_ASSIGN_OR_RETURN(const RunResult result,
                            RunShown(context_, options, scenario, source_, runner_));
    if (journal_ != nullptr) {
      ENGRAM_RETURN_IF_ERROR(journal_->Append(fingerprint, ResultJson(result)));
    }
    if (context_.json) {
      if (result.predictions.has_value()) PrintJson(context_, PredictionsJson(result));
      PrintJson(context_, ResultJson(result));
    } else {
      *context_.out << RunTable(result) << std::endl;
    }
    return FiguresOf(result);
  }

  void PrintKnown(const Json& result) {
    if (context_.json) return PrintJson(context_, result);
    const RunFigures figures = FiguresOf(result);
    const bool stream = figures.prequential_accuracy.has_value();
    const double figure = (stream ? figures.prequential_accuracy : figures.acc).value_or(0);
    *context_.out << absl::StrFormat("%s, seed %d: %s %.1f, from %s\n", figures.strategy,
                                     figures.seed, stream ? "prequential" : "ACC", 100 * figure,
                                     plan_.resume_file);
  }

  void PrintTables() {
    if (plan_.seeds) {
      *context_.out << SeedsTable(strategies_) << "\n";
    } else if (strategies_.size() > 1) {
      std::vector<RunFigures> runs;
      for (const std::vector<RunFigures>& seeds : strategies_) runs.push_back(seeds.front());
      *context_.out << ComparisonTable(runs) << "\n";
    }
    *context_.out << client::DefinitionsText() << std::flush;
  }

  const VerbContext& context_;
  const RunPlan& plan_;
  const datasets::RowSplit& source_;
  const Runner& runner_;
  std::unique_ptr<RunJournal> journal_;
  std::string rows_fingerprint_;
  std::vector<std::vector<RunFigures>> strategies_;
};

}  // namespace

void PrintJson(const VerbContext& context, const Json& json) {
  *context.out << json.dump() << std::endl;
}

absl::StatusOr<RunResult> RunShown(const VerbContext& context, const RunOptions& options,
                                   const Scenario& scenario, const datasets::RowSplit& source,
                                   const Runner& runner) {
  client::ProgressOptions progress_options;
  progress_options.title = absl::StrCat(options.strategy, " seed ", options.scenario.seed);
  progress_options.unit = "examples";
  progress_options.total = ScheduledExamples(scenario, options.schedule);
  progress_options.terminal = context.terminal;
  progress_options.quiet = context.json;
  client::Progress progress(progress_options, context.err);
  RunEvents events;
  events.on_progress = [&progress](int64_t sent) { progress.Set(sent); };
  events.on_task = [&](const TaskOutcome& outcome) {
    if (context.json) {
      PrintJson(context, TaskJson(options, outcome));
    } else {
      progress.Line(TaskLine(outcome));
    }
  };
  auto result = runner(options, source, events);
  progress.Finish();
  return result;
}

int RunVerb(const VerbContext& context, const std::vector<std::string>& args,
            const Runner& runner) {
  RunFlags run;
  client::FlagSet flags("scenario run", "Learns a scenario, strategy by strategy, seed by seed.");
  AddRunFlags(&run, &flags);
  if (const auto exit = client::ParseOrExit(context, args, &flags)) return *exit;
  const auto plan = MakeRunPlan(args, run);
  if (!plan.ok()) return client::WrongUsage(context, plan.status(), flags);
  const auto source = LoadRows(run.options);
  if (!source.ok()) return client::Fail(context, source.status());
  const absl::Status status = Runs(context, *plan, *source, runner).Go();
  return status.ok() ? client::kExitOk : client::Fail(context, status);
}

}  // namespace engram::scenario
