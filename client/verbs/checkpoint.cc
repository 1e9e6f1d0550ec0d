// Checkpoints and the way back to them.
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/table.h"
#include "client/verbs/verbs.h"

namespace engram::client {
namespace {

constexpr char kIdHelp[] = "id or label of the checkpoint";

int PrintCheckpoint(const VerbContext& context, const absl::StatusOr<v1::Checkpoint>& found) {
  if (!found.ok()) return Fail(context, found.status());
  if (context.json) {
    *context.out << ToJson(*found).dump() << "\n";
    return kExitOk;
  }
  *context.out << "checkpoint  " << found->id() << "\n"
               << "label       " << (found->label().empty() ? "-" : found->label()) << "\n"
               << "version     " << found->applied_sequence() << "\n"
               << "task        " << found->current_task() << "\n"
               << "created     " << TimeText(found->create_time_ms()) << "\n"
               << "size        " << ByteCount(found->bytes()) << ", " << found->exemplars()
               << " exemplars\n"
               << "sha256      " << found->sha256() << "\n"
               << "compute     " << found->compute() << "\n"
               << "automatic   " << (found->automatic() ? "yes" : "no") << "\n";
  return kExitOk;
}

std::string RollbackText(const v1::RollbackResponse& done, bool dry_run) {
  std::string text = absl::StrCat(
      dry_run ? "would go" : "went", " back from version ", done.previous_version(),
      " to checkpoint ", done.checkpoint(), " (version ", done.restored_sequence(), ")\n",
      done.dropped_examples(), " examples ", dry_run ? "would be" : "are", " no longer learned");
  if (done.dropped_examples() > 0) {
    absl::StrAppend(&text, ": sequences ", done.dropped().first(), " to ", done.dropped().last());
  }
  if (done.undone_boundaries_size() > 0) {
    absl::StrAppend(&text, "\nundone boundaries: ", absl::StrJoin(done.undone_boundaries(), " "));
  }
  if (!dry_run) {
    absl::StrAppendFormat(&text, "\nrecorded at sequence %d, served after %.3f s",
                          done.rollback_sequence(), done.seconds());
  }
  return absl::StrCat(text, "\n");
}

}  // namespace

int CheckpointCreate(const VerbContext& context, const Arguments& args) {
  v1::CreateCheckpointRequest request;
  std::string model;
  std::string label;
  uint64_t min_applied_sequence = 0;
  int64_t wait_seconds = 120;
  FlagSet flags("checkpoint create", "Makes a durable, restartable state of a model.");
  flags.Positional("MODEL", &model, "to keep")
      .OptionalPositional("LABEL", &label, "a name for it")
      .Uint64("min_applied_sequence", &min_applied_sequence, "wait until this is applied")
      .Int64("wait_seconds", &wait_seconds, "longest wait");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  request.set_model(model);
  request.set_label(label);
  request.set_min_applied_sequence(min_applied_sequence);
  return PrintCheckpoint(
      context, CheckpointsClient(*connection).Create(request, absl::Seconds(wait_seconds)));
}

int CheckpointList(const VerbContext& context, const Arguments& args) {
  std::string model;
  FlagSet flags("checkpoint list", "Lists a model's checkpoints, the newest first.");
  flags.Positional("MODEL", &model, "whose checkpoints");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto checkpoints = CheckpointsClient(*connection).List(model);
  if (!checkpoints.ok()) return Fail(context, checkpoints.status());
  Table table(
      {"checkpoint", "label", "version", "task", "created", "size", "exemplars", "automatic"});
  for (const v1::Checkpoint& one : *checkpoints) {
    if (context.json) {
      *context.out << ToJson(one).dump() << "\n";
    } else {
      table.Add({one.id(), one.label(), absl::StrCat(one.applied_sequence()), one.current_task(),
                 TimeText(one.create_time_ms()), ByteCount(one.bytes()),
                 absl::StrCat(one.exemplars()), one.automatic() ? "yes" : "no"});
    }
  }
  if (!context.json) *context.out << table.Text();
  return kExitOk;
}

int CheckpointShow(const VerbContext& context, const Arguments& args) {
  std::string model;
  std::string id;
  FlagSet flags("checkpoint show", "Shows one checkpoint.");
  flags.Positional("MODEL", &model, "whose checkpoint").Positional("CHECKPOINT", &id, kIdHelp);
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  return PrintCheckpoint(context, CheckpointsClient(*connection).Get(model, id));
}

int CheckpointDelete(const VerbContext& context, const Arguments& args) {
  std::string model;
  std::string id;
  FlagSet flags("checkpoint delete", "Deletes one checkpoint.");
  flags.Positional("MODEL", &model, "whose checkpoint").Positional("CHECKPOINT", &id, kIdHelp);
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const absl::Status deleted = CheckpointsClient(*connection).Delete(model, id);
  if (!deleted.ok()) return Fail(context, deleted);
  *context.out << (context.json ? Json({{"deleted", id}}).dump() : absl::StrCat("deleted ", id))
               << "\n";
  return kExitOk;
}

int Rollback(const VerbContext& context, const Arguments& args) {
  v1::RollbackRequest request;
  std::string model;
  std::string checkpoint;
  bool dry_run = false;
  uint64_t expected = 0;
  FlagSet flags(
      "rollback",
      "Brings a checkpoint back: weights, optimizer, strategy state and episodic memory.");
  flags.Positional("MODEL", &model, "to bring back")
      .Positional("CHECKPOINT", &checkpoint, kIdHelp)
      .Bool("dry_run", &dry_run, "only say what would happen")
      .Uint64("expected_current_version", &expected, "refuse when the live version is another");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  request.set_model(model);
  request.set_checkpoint(checkpoint);
  request.set_dry_run(dry_run);
  request.set_expected_current_version(expected);
  const auto done = CheckpointsClient(*connection).Rollback(request);
  if (!done.ok()) return Fail(context, done.status());
  if (context.json) {
    Json object = ToJson(*done);
    object["dry_run"] = dry_run;
    *context.out << object.dump() << "\n";
  } else {
    *context.out << RollbackText(*done, dry_run);
  }
  return kExitOk;
}

}  // namespace engram::client
