// Candidates in a model's shadow: `tune start|show|promote|stop`.
#include <cstdint>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/spec_flags.h"
#include "client/table.h"
#include "client/verbs/tune_flags.h"
#include "client/verbs/verbs.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

using v1::TuneReport;

std::string StateText(const TuneReport& report) {
  if (report.state() == TuneReport::STATE_UNSPECIFIED) return "none";
  return absl::AsciiStrToLower(TuneReport::State_Name(report.state()));
}

// "2 of 3 tasks, 1200 of 5000 examples", as far as they were asked for.
std::string ProgressText(const TuneReport& report) {
  std::string text;
  if (report.tasks() > 0) {
    absl::StrAppend(&text, report.tasks_ended(), " of ", report.tasks(), " tasks, ");
  }
  absl::StrAppend(&text, report.examples_seen());
  if (report.examples() > 0) absl::StrAppend(&text, " of ", report.examples());
  return absl::StrCat(text, " examples");
}

std::string NoteText(const TuneReport& report, int32_t position,
                     const TuneReport::Score& score) {
  if (!score.dropped().empty()) return absl::StrCat("dropped: ", score.dropped());
  if (report.winner_name().empty() || report.winner() != position) return "";
  if (report.state() == TuneReport::PROMOTED) return "is the model now";
  if (report.state() == TuneReport::KEPT) return "stays the model";
  if (report.state() == TuneReport::DECIDED && position > 0) return "proposed";
  return "was the best";
}

void AddRow(const TuneReport& report, int32_t position, const TuneReport::Score& score,
            Table* table) {
  const double accuracy =
      score.has_accuracy() ? score.accuracy() : std::numeric_limits<double>::quiet_NaN();
  table->Add({score.name(), Percent(accuracy), absl::StrCat(score.hits()),
              absl::StrCat(score.examples()), absl::StrCat(score.skipped_batches()),
              NoteText(report, position, score)});
}

// Durable, and the trainer has not come to it: the report is of the one before, if any.
bool Begins(const v1::Model& model) {
  return model.spec().has_tune() && model.spec().tune().id() != model.tune().id();
}

void PrintTune(const VerbContext& context, const v1::Model& model) {
  if (context.json) {
    *context.out << Json({{"model", model.name()}, {"tune", ToJson(model.tune())}}).dump()
                 << std::endl;
    return;
  }
  if (Begins(model)) {
    *context.out << "tune " << model.spec().tune().id() << " of " << model.name()
                 << ": begins\n";
    return;
  }
  const TuneReport& report = model.tune();
  *context.out << "tune " << report.id() << " of " << model.name() << ": " << StateText(report)
               << ", " << ProgressText(report) << "\n";
  if (report.state() == TuneReport::STATE_UNSPECIFIED) return;
  Table table({"settings", "prequential %", "hits", "examples", "skipped batches", "note"});
  AddRow(report, 0, report.own(), &table);
  for (int i = 0; i < report.candidates_size(); ++i) {
    AddRow(report, i + 1, report.candidates(i), &table);
  }
  *context.out << table.Text() << std::flush;
}

// Shows the table whenever it has changed, until the tune is over or waits for the client. On a
// terminal it is drawn over the last one.
int Follow(const VerbContext& context, const ModelsClient& models, const std::string& name,
           absl::Duration every) {
  std::string last;
  while (true) {
    const auto model = models.Get(name);
    if (!model.ok()) return Fail(context, model.status());
    if (Begins(*model)) {
      absl::SleepFor(every);
      continue;
    }
    const std::string now = model->tune().SerializeAsString();
    if (now != last || last.empty()) {
      if (context.terminal && !context.json && !last.empty()) {
        *context.out << "\x1b[" << model->tune().candidates_size() + 3 << "F\x1b[J";
      }
      PrintTune(context, *model);
    }
    last = now;
    const bool waits = model->tune().state() == TuneReport::DECIDED &&
                       model->tune().policy() == v1::Tune::PROPOSE &&
                       model->tune().winner() != 0;
    const bool open = model->tune().state() == TuneReport::RUNNING ||
                      model->tune().state() == TuneReport::DECIDED;
    if (!open || waits) return kExitOk;
    absl::SleepFor(every);
  }
}

int PrintChange(const VerbContext& context,
                const absl::StatusOr<v1::UpdateModelResponse>& changed) {
  if (!changed.ok()) return Fail(context, changed.status());
  if (context.json) {
    *context.out << ToJson(*changed).dump() << "\n";
    return kExitOk;
  }
  *context.out << "changed at sequence " << changed->sequence() << "\n"
               << "strategy    " << FormatStrategies(changed->model().spec().strategies()) << "\n"
               << "learning rate " << changed->model().spec().optimizer().learning_rate() << "\n";
  return kExitOk;
}

absl::StatusOr<v1::UpdateModelResponse> Start(const ModelsClient& models, const std::string& name,
                                              const v1::Tune& tune) {
  ENGRAM_ASSIGN_OR_RETURN(v1::Model model, models.Get(name));
  if (model.spec().has_tune()) {
    return absl::FailedPreconditionError(
        absl::StrCat("a tune of ", name, " is under way; \"engram tune stop\" ends it"));
  }
  *model.mutable_spec()->mutable_tune() = tune;
  return models.Update(name, model.spec());
}

absl::StatusOr<v1::UpdateModelResponse> Stop(const ModelsClient& models, const std::string& name) {
  ENGRAM_ASSIGN_OR_RETURN(v1::Model model, models.Get(name));
  if (!model.spec().has_tune()) {
    return absl::FailedPreconditionError(absl::StrCat("no tune of ", name, " is under way"));
  }
  model.mutable_spec()->clear_tune();
  return models.Update(name, model.spec());
}

}  // namespace

int TuneStart(const VerbContext& context, const Arguments& args) {
  std::string name;
  TuneFlags tune_flags;
  FlagSet flags("tune start",
                "Tries other settings in a running model's shadow, from copies of it. With n\n"
                "candidates an example costs n + 1 steps of training.");
  flags.Positional("MODEL", &name, "its name");
  tune_flags.Declare("", &flags);
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  v1::Tune tune;
  const absl::Status readable = tune_flags.ApplyTo(&tune);
  if (!readable.ok()) return WrongUsage(context, readable, flags);
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  return PrintChange(context, Start(ModelsClient(*connection), name, tune));
}

int TuneShow(const VerbContext& context, const Arguments& args) {
  std::string name;
  bool watch = false;
  double every_seconds = 1;
  FlagSet flags("tune show", "Shows the scores of a model's last tune.");
  flags.Positional("MODEL", &name, "its name")
      .Bool("watch", &watch, "again whenever it has changed, until it is over")
      .Double("every", &every_seconds, "seconds between looks, with --watch");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  if (!(every_seconds >= 0.01)) {
    return WrongUsage(context, absl::InvalidArgumentError("--every: expected at least 0.01"),
                      flags);
  }
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const ModelsClient models(*connection);
  if (watch) return Follow(context, models, name, absl::Seconds(every_seconds));
  const auto model = models.Get(name);
  if (!model.ok()) return Fail(context, model.status());
  PrintTune(context, *model);
  return kExitOk;
}

int TunePromote(const VerbContext& context, const Arguments& args) {
  std::string name;
  FlagSet flags("tune promote",
                "Makes the proposed candidate the model, with what it has learned.");
  flags.Positional("MODEL", &name, "its name");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  return PrintChange(context, ModelsClient(*connection).Promote(name));
}

int TuneStop(const VerbContext& context, const Arguments& args) {
  std::string name;
  FlagSet flags("tune stop", "Ends the tune under way; the model stays as it is.");
  flags.Positional("MODEL", &name, "its name");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  return PrintChange(context, Stop(ModelsClient(*connection), name));
}

}  // namespace engram::client
