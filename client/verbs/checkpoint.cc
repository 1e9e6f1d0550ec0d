// Checkpoints, the way back to them, and the way out and in.
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/spec_flags.h"
#include "client/table.h"
#include "client/verbs/model_flags.h"
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

absl::StatusOr<v1::ExportRequest::Format> ParseFormat(const std::string& text) {
  if (text == "safetensors") return v1::ExportRequest::SAFETENSORS;
  if (text == "torchscript") return v1::ExportRequest::TORCHSCRIPT;
  return absl::InvalidArgumentError(
      absl::StrCat("--format: must be safetensors or torchscript, got \"", text, "\""));
}

bool WriteTo(const std::string& path, const std::string& bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  return file.good();
}

// Under another name first, so that nobody ever finds half of it. What is no file (a device, a
// pipe) is written to and never replaced, nor is a link to a file.
absl::Status WriteWhole(const std::string& path, const std::string& bytes) {
  std::error_code none;
  const std::filesystem::path real = std::filesystem::canonical(path, none);
  const std::string target = none ? path : real.string();
  const bool is_file = !std::filesystem::is_other(std::filesystem::status(path, none));
  const std::string partial = is_file ? target + ".partial" : target;
  if (WriteTo(partial, bytes)) {
    if (!is_file || std::rename(partial.c_str(), target.c_str()) == 0) return absl::OkStatus();
  }
  if (is_file) std::remove(partial.c_str());
  return absl::UnavailableError(absl::StrCat("--out: cannot write ", bytes.size(), " bytes to ",
                                             path, "; is there room, and the folder?"));
}

Json LabelsOf(const google::protobuf::RepeatedPtrField<v1::Label>& labels) {
  Json array = Json::array();
  for (const v1::Label& label : labels) {
    array.push_back(label.has_number() ? Json(label.number()) : Json(label.text()));
  }
  return array;
}

void PrintExport(const VerbContext& context, const v1::ExportResponse::Header& header,
                 const std::string& path) {
  const Json labels = LabelsOf(header.labels());
  if (context.json) {
    *context.out << Json({{"checkpoint", header.checkpoint()},
                          {"model_version", header.model_version()},
                          {"file", path},
                          {"bytes", header.bytes()},
                          {"sha256", header.sha256()},
                          {"labels", labels}})
                        .dump()
                 << "\n";
    return;
  }
  *context.out << "checkpoint  " << header.checkpoint() << "\n"
               << "version     " << header.model_version() << "\n"
               << "file        " << path << ", " << ByteCount(header.bytes()) << "\n"
               << "sha256      " << header.sha256() << "\n"
               << "outputs     " << labels.dump() << "\n";
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

int CheckpointExport(const VerbContext& context, const Arguments& args) {
  v1::ExportRequest request;
  std::string model;
  std::string checkpoint;
  std::string format = "safetensors";
  std::string path;
  int64_t wait_seconds = 600;
  FlagSet flags("checkpoint export", "Writes the network of a checkpoint to a file for PyTorch.");
  flags.Positional("MODEL", &model, "whose checkpoint")
      .OptionalPositional("CHECKPOINT", &checkpoint, "its id or label; the newest by default")
      .String("format", &format, "safetensors (layers by name) or torchscript (for torch.jit)")
      .Takes("safetensors|torchscript")
      .String("out", &path, "file to write; replaced when it exists")
      .Takes("FILE")
      .Int64("wait_seconds", &wait_seconds, "longest wait");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  if (path.empty()) {
    return WrongUsage(context, absl::InvalidArgumentError("--out: FILE is required"), flags);
  }
  const auto wanted = ParseFormat(format);
  if (!wanted.ok()) return WrongUsage(context, wanted.status(), flags);
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  request.set_model(model);
  request.set_checkpoint(checkpoint);
  request.set_format(*wanted);
  const auto file = CheckpointsClient(*connection).Export(request, absl::Seconds(wait_seconds));
  if (!file.ok()) return Fail(context, file.status());
  const absl::Status written = WriteWhole(path, file->bytes);
  if (!written.ok()) return Fail(context, written);
  PrintExport(context, file->header, path);
  return kExitOk;
}

int CheckpointImport(const VerbContext& context, const Arguments& args) {
  v1::ImportRequest::Header header;
  std::string name;
  std::string path;
  std::string spec_file;
  FlagSet flags("checkpoint import", "Makes a new model of an exported safetensors file.");
  flags.Positional("NAME", &name, "of the new model")
      .Positional("FILE", &path, "that checkpoint export wrote")
      .String("spec", &spec_file,
              "file with a ModelSpec in protobuf text form, in place of the one in the file")
      .Takes("FILE");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  header.set_name(name);
  if (!spec_file.empty()) {
    const auto spec = ReadSpecFile(spec_file);
    if (!spec.ok()) return WrongUsage(context, spec.status(), flags);
    *header.mutable_spec() = *spec;
  }
  const auto file = ReadWeightsFile("FILE", path);
  if (!file.ok()) return WrongUsage(context, file.status(), flags);
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto model = CheckpointsClient(*connection).Import(header, *file);
  if (!model.ok()) return Fail(context, model.status());
  if (context.json) {
    *context.out << ToJson(*model).dump() << "\n";
  } else {
    *context.out << "imported " << model->name() << ": " << model->parameters()
                 << " parameters, outputs " << LabelsOf(model->spec().labels()).dump() << "\n";
  }
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
