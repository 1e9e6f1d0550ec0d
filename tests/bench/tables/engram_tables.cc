// Runs the rows of rows.json one after another and writes what they came to.
//
//   engram_tables --data mnist=DIR --journal tables.jsonl --only vdv-split
//
// Every finished seed is in the journal: stopped and started again, it goes on there; the tables
// are written anew after each row, from all that the journal holds. A row that cannot run, because
// its strategy or scenario is not there, stays in the tables with the reason.
#include <unistd.h>

#include <fstream>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/connection.h"
#include "client/datasets/row_set.h"
#include "client/flags.h"
#include "client/scenario/run_journal.h"
#include "client/scenario/run_plan.h"
#include "client/scenario/run_report.h"
#include "client/scenario/run_verb.h"
#include "client/scenario/scenario_runner.h"
#include "client/verb.h"
#include "storage/base/status_macros.h"
#include "tests/bench/tables/result_tables.h"
#include "tests/bench/tables/table_rows.h"
#include "tests/testing/in_process/in_process_run.h"
#include "tests/testing/process/scratch_folder.h"
#include "tests/testing/process/server_process.h"

namespace engram::bench {
namespace {

using client::Json;
using scenario::RunOptions;

struct TableOptions {
  std::string rows = "tests/bench/tables/rows.json";
  std::string journal = "engram_tables.jsonl";
  std::string out = "strategies";
  std::vector<std::string> paths;
  std::vector<std::string> only;
  int64_t seeds_max = 1000;
  bool report = false;
};

// Rows that many table rows share.
struct Source {
  datasets::RowSplit rows;
  std::string fingerprint;
};

// A server of this build, started when the first row asks for it.
class LazyServer {
 public:
  absl::StatusOr<std::shared_ptr<client::Connection>> Connect() {
    if (server_ == nullptr) {
      testing::ServerOptions options;
      options.data_dir = scratch_.Subfolder("store");
      ENGRAM_ASSIGN_OR_RETURN(server_, testing::ServerProcess::Start(options));
    }
    client::ConnectionOptions options;
    options.target = server_->grpc_address();
    return client::Connection::Open(options);
  }

 private:
  testing::ScratchFolder scratch_;
  std::unique_ptr<testing::ServerProcess> server_;
};

absl::StatusOr<scenario::RunPlan> PlanOf(const TableRow& row, const std::string& path) {
  const std::vector<std::string> args = row.Arguments(path);
  scenario::RunFlags run;
  client::FlagSet flags("", "");
  scenario::AddRunFlags(&run, &flags);
  ENGRAM_RETURN_IF_ERROR(flags.Parse(args));
  return scenario::MakeRunPlan(args, run);
}

class Tables {
 public:
  Tables(const client::VerbContext& context, TableOptions options, std::vector<TableRow> rows)
      : context_(context), options_(std::move(options)) {
    for (TableRow& row : rows) {
      outcomes_.emplace_back();
      outcomes_.back().row = std::move(row);
    }
  }

  absl::Status Go() {
    ENGRAM_ASSIGN_OR_RETURN(journal_, scenario::RunJournal::Open(options_.journal));
    std::ifstream kept(absl::StrCat(options_.out, "/results.json"));
    kept_ = client::Json::parse(kept, nullptr, /*allow_exceptions=*/false);
    for (RowOutcome& outcome : outcomes_) Take(&outcome, /*run=*/false);
    ENGRAM_RETURN_IF_ERROR(Write());
    if (options_.report) return absl::OkStatus();
    for (RowOutcome& outcome : outcomes_) {
      if (!Selected(outcome.row)) continue;
      *context_.err << "== " << outcome.row.id << std::endl;
      Take(&outcome, /*run=*/true);
      if (!outcome.skipped.empty()) *context_.err << "not run: " << outcome.skipped << std::endl;
      ENGRAM_RETURN_IF_ERROR(Write());
    }
    return absl::OkStatus();
  }

 private:
  bool Selected(const TableRow& row) const {
    for (const std::string& part : options_.only) {
      if (absl::StrContains(row.id, part)) return true;
    }
    return options_.only.empty();
  }

  // What the journal holds of a row and, with `run`, what is missing. Of a row that
  // results.json knows more seeds of, what stands there: journals stay where they were made.
  void Take(RowOutcome* outcome, bool run) {
    outcome->runs.clear();
    outcome->skipped = outcome->row.blocked;
    if (!outcome->skipped.empty()) return;
    const absl::Status status = TakeSeeds(outcome, run);
    if (!status.ok()) outcome->skipped = std::string(status.message());
    TakeKept(kept_, outcome);
  }

  absl::Status TakeSeeds(RowOutcome* outcome, bool run) {
    ENGRAM_ASSIGN_OR_RETURN(const std::string path, PathOf(outcome->row.files));
    ENGRAM_ASSIGN_OR_RETURN(const scenario::RunPlan plan, PlanOf(outcome->row, path));
    const RunOptions& first = plan.strategies.front().front();
    ENGRAM_ASSIGN_OR_RETURN(const Source* source, SourceOf(outcome->row, first));
    outcome->strategy = first.strategy;
    int64_t left = run ? options_.seeds_max : 0;
    for (const RunOptions& options : plan.strategies.front()) {
      run = left-- > 0;
      ENGRAM_ASSIGN_OR_RETURN(const Json* direct, ResultOf(options, *source, run, false));
      if (direct == nullptr) continue;
      outcome->runs.push_back(scenario::FiguresOf(*direct));
      if (!outcome->row.served || outcome->runs.size() > 1) continue;
      ENGRAM_ASSIGN_OR_RETURN(const Json* served, ResultOf(options, *source, run, true));
      if (served != nullptr) outcome->served_equal = (*served)["r"] == (*direct)["r"];
    }
    return absl::OkStatus();
  }

  // Of the journal, or run now; null: neither.
  absl::StatusOr<const Json*> ResultOf(const RunOptions& options, const Source& source, bool run,
                                       bool served) {
    ENGRAM_ASSIGN_OR_RETURN(const scenario::Scenario scenario,
                            scenario::MakeRunScenario(options, source.rows));
    ENGRAM_ASSIGN_OR_RETURN(std::string key,
                            scenario::RunFingerprint(options, scenario, source.fingerprint));
    if (served) absl::StrAppend(&key, "-served");
    const Json* known = journal_->Find(key);
    if (known != nullptr || !run) return known;
    if (served) *context_.err << "through a server:" << std::endl;
    const auto through_server =
        [this](const RunOptions& options, const datasets::RowSplit& rows,
               const scenario::RunEvents& events) -> absl::StatusOr<scenario::RunResult> {
      ENGRAM_ASSIGN_OR_RETURN(auto connection, server_.Connect());
      return scenario::RunScenario(std::move(connection), options, rows, events);
    };
    const auto in_process = [](const RunOptions& options, const datasets::RowSplit& rows,
                               const scenario::RunEvents& events) {
      return testing::RunInProcess(options, rows, events);
    };
    ENGRAM_ASSIGN_OR_RETURN(
        const scenario::RunResult result,
        scenario::RunShown(context_, options, scenario, source.rows,
                           served ? scenario::Runner(through_server) : in_process));
    ENGRAM_RETURN_IF_ERROR(journal_->Append(key, scenario::ResultJson(result)));
    return journal_->Find(key);
  }

  absl::StatusOr<std::string> PathOf(const std::string& key) const {
    for (const std::string& pair : options_.paths) {
      const std::pair<std::string, std::string> sides =
          absl::StrSplit(pair, absl::MaxSplits('=', 1));
      if (sides.first == key) return sides.second;
    }
    return absl::NotFoundError(absl::StrCat("no --data ", key, "=PATH was given"));
  }

  absl::StatusOr<const Source*> SourceOf(const TableRow& row, const RunOptions& options) {
    const std::string key = absl::StrCat(row.files, options.previous_label);
    if (sources_.count(key) == 0) {
      ENGRAM_ASSIGN_OR_RETURN(datasets::RowSplit rows, scenario::LoadRows(options));
      std::string fingerprint = scenario::RowsFingerprint(rows);
      sources_[key] = {std::move(rows), std::move(fingerprint)};
    }
    return &sources_[key];
  }

  absl::Status Write() const {
    std::ofstream text(absl::StrCat(options_.out, "/RESULTS.md"));
    text << ResultsText(outcomes_) << std::flush;
    std::ofstream json(absl::StrCat(options_.out, "/results.json"));
    json << ResultsJson(outcomes_).dump(1) << std::endl;
    if (text && json) return absl::OkStatus();
    return absl::PermissionDeniedError(absl::StrCat("out: cannot write into ", options_.out));
  }

  const client::VerbContext& context_;
  const TableOptions options_;
  std::vector<RowOutcome> outcomes_;
  client::Json kept_;
  std::unique_ptr<scenario::RunJournal> journal_;
  std::map<std::string, Source> sources_;
  LazyServer server_;
};

absl::StatusOr<std::vector<TableRow>> ReadRows(const std::string& path) {
  std::ifstream file(path);
  if (!file) return absl::NotFoundError(absl::StrCat("rows: cannot read ", path));
  std::ostringstream text;
  text << file.rdbuf();
  return ParseRows(text.str());
}

int Main(const std::vector<std::string>& args) {
  client::VerbContext context;
  context.terminal = isatty(STDERR_FILENO) == 1;
  TableOptions options;
  client::FlagSet flags("tables", "engram_tables: runs rows, writes RESULTS.md and results.json.");
  flags.String("rows", &options.rows, "the list of rows")
      .Strings("data", &options.paths, "KEY=PATH of a row's files, e.g. mnist=DIR")
      .String("journal", &options.journal, "file of finished runs")
      .String("out", &options.out, "folder of RESULTS.md and results.json")
      .Strings("only", &options.only, "run rows whose id contains this; others only report")
      .Int64("seeds_max", &options.seeds_max, "run at most so many seeds of a row")
      .Bool("report", &options.report, "run nothing, write the tables from the journal");
  if (const auto exit = client::ParseOrExit(context, args, &flags)) return *exit;
  auto rows = ReadRows(options.rows);
  if (!rows.ok()) return client::Fail(context, rows.status());
  const absl::Status status = Tables(context, options, *std::move(rows)).Go();
  return status.ok() ? client::kExitOk : client::Fail(context, status);
}

}  // namespace
}  // namespace engram::bench

int main(int argc, char** argv) {
  return engram::bench::Main(std::vector<std::string>(argv + 1, argv + argc));
}
