// Backups: made by the server, verified and restored without one, from the files alone.
#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/table.h"
#include "client/verbs/verbs.h"
#include "storage/backup/backup_root.h"

namespace engram::client {
namespace {

std::string Sequences(const storage::BackupManifest& manifest) {
  return absl::StrJoin(manifest.models, ", ",
                       [](std::string* out, const storage::BackedUpModel& model) {
                         absl::StrAppend(out, model.name, " up to sequence ", model.durable);
                       });
}

int PrintManifest(const VerbContext& context, const absl::StatusOr<storage::BackupManifest>& found,
                  const char* what) {
  if (!found.ok()) return Fail(context, found.status());
  if (!context.json) {
    *context.out << what << " backup " << found->name << " of "
                 << TimeText(found->create_time_ms) << ": " << found->files.size() << " files, "
                 << ByteCount(found->Bytes())
                 << (found->models.empty() ? "" : absl::StrCat("; ", Sequences(*found))) << "\n";
    return kExitOk;
  }
  Json object = {{"backup", found->name},
                 {"create_time_ms", found->create_time_ms},
                 {"files", found->files.size()},
                 {"bytes", found->Bytes()},
                 {"models", Json::array()}};
  for (const storage::BackedUpModel& model : found->models) {
    object["models"].push_back({{"name", model.name}, {"durable_sequence", model.durable}});
  }
  *context.out << object.dump() << "\n";
  return kExitOk;
}

}  // namespace

int BackupCreate(const VerbContext& context, const Arguments& args) {
  std::string name;
  int64_t wait_seconds = 3600;
  FlagSet flags("backup create",
                "Makes the server copy everything that it keeps to the folder of its config.");
  flags.OptionalPositional("NAME", &name, "of the backup (default: the time)")
      .Int64("wait_seconds", &wait_seconds, "longest wait; the server goes on after it");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto made = AdminClient(*connection).CreateBackup(name, absl::Seconds(wait_seconds));
  if (!made.ok()) return Fail(context, made.status());
  if (context.json) {
    *context.out << ToJson(*made).dump() << "\n";
    return kExitOk;
  }
  *context.out << "backup " << made->name() << ": " << made->files() << " files, "
               << ByteCount(made->bytes()) << ", " << absl::StrFormat("%.1f s", made->seconds())
               << "\n";
  for (const v1::Backup::Model& model : made->models()) {
    *context.out << "  " << model.name() << " up to sequence " << model.durable_sequence() << "\n";
  }
  for (const std::string& old : made->removed()) *context.out << "  removed " << old << "\n";
  return kExitOk;
}

int BackupVerify(const VerbContext& context, const Arguments& args) {
  std::string folder;
  FlagSet flags("backup verify",
                "Reads every file of a backup against its manifest. Needs no server.");
  flags.Positional("BACKUP", &folder, "folder of the backup");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  return PrintManifest(context, storage::VerifyBackup(folder, nullptr), "whole:");
}

int BackupRestore(const VerbContext& context, const Arguments& args) {
  std::string folder;
  std::string data_dir;
  FlagSet flags("backup restore",
                "Makes a data folder from a backup, every file verified; start engramd on it then. "
                "Needs no server.");
  flags.Positional("BACKUP", &folder, "folder of the backup")
      .Positional("DATA_DIR", &data_dir, "the new data folder; must not be there, or be empty");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  return PrintManifest(context, storage::RestoreBackup(folder, data_dir, nullptr), "restored:");
}

}  // namespace engram::client
