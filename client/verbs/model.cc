#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/clients.h"
#include "client/examples.h"
#include "client/json.h"
#include "client/spec_flags.h"
#include "client/table.h"
#include "client/verbs/model_flags.h"
#include "client/verbs/tune_flags.h"
#include "client/verbs/verbs.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

std::string LagText(const v1::Model& model) {
  return absl::StrCat(
      model.durable_sequence() > model.version() ? model.durable_sequence() - model.version() : 0);
}

std::string StateText(const v1::Model& model) {
  std::string text = v1::Model::State_Name(model.state());
  if (model.paused()) absl::StrAppend(&text, " paused");
  if (!model.state_reason().empty()) absl::StrAppend(&text, " (", model.state_reason(), ")");
  return text;
}

void PrintModel(const VerbContext& context, const v1::Model& model) {
  if (context.json) {
    *context.out << ToJson(model).dump() << "\n";
    return;
  }
  const auto label = [](std::string* text, const v1::Label& one) {
    absl::StrAppend(text, LabelText(one));
  };
  *context.out << "model       " << model.name() << "\n"
               << "state       " << StateText(model) << "\n"
               << "version     " << model.version() << "\n"
               << "durable     " << model.durable_sequence() << " (lag " << LagText(model) << ")\n"
               << "task        " << model.current_task() << "\n"
               << "tasks       " << absl::StrJoin(model.tasks(), " ") << "\n"
               << "classes     " << absl::StrJoin(model.classes(), " ", label) << "\n"
               << "parameters  " << model.parameters() << "\n"
               << "created     " << TimeText(model.create_time_ms()) << "\n"
               << "strategy    " << FormatStrategies(model.spec().strategies()) << "\n"
               << "spec\n"
               << model.spec().DebugString();
}

int PrintResult(const VerbContext& context, const absl::StatusOr<v1::Model>& model) {
  if (!model.ok()) return Fail(context, model.status());
  PrintModel(context, *model);
  return kExitOk;
}

// A verb whose only argument is a model's name.
template <typename Call>
int OnNamedModel(const VerbContext& context, const Arguments& args, const std::string& verb,
                 const std::string& summary, const Call& call) {
  std::string name;
  FlagSet flags(absl::StrCat("model ", verb), summary);
  flags.Positional("MODEL", &name, "its name");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  return call(ModelsClient(*connection), name);
}

absl::StatusOr<v1::UpdateModelResponse> UpdateOn(const ModelsClient& models,
                                                 const std::string& name,
                                                 const ModelFlags& model_flags) {
  ENGRAM_ASSIGN_OR_RETURN(v1::Model model, models.Get(name));
  ENGRAM_RETURN_IF_ERROR(model_flags.ApplyTo(model.mutable_spec()));
  return models.Update(name, model.spec());
}

}  // namespace

int ModelCreate(const VerbContext& context, const Arguments& args) {
  std::string name;
  ModelFlags model_flags;
  TuneFlags tune_flags;
  FlagSet flags("model create", "Creates a model; what is not given takes the server's default.");
  flags.Positional("NAME", &name, "of the model, [A-Za-z0-9._-]{1,128}");
  model_flags.DeclareCreation(&flags);
  model_flags.DeclareLive(&flags);
  tune_flags.Declare("tune_", &flags);
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  v1::ModelSpec spec;
  absl::Status applied = model_flags.ApplyTo(&spec);
  if (applied.ok() && tune_flags.given()) applied = tune_flags.ApplyTo(spec.mutable_tune());
  if (!applied.ok()) return WrongUsage(context, applied, flags);
  const auto weights = model_flags.ReadWeights();
  if (!weights.ok()) return WrongUsage(context, weights.status(), flags);
  const auto scope = model_flags.WeightsScope();
  if (!scope.ok()) return WrongUsage(context, scope.status(), flags);
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const ModelsClient models(*connection);
  return PrintResult(context, weights->has_value()
                                  ? models.CreateFromWeights(name, spec, *scope, **weights)
                                  : models.Create(name, spec));
}

int ModelList(const VerbContext& context, const Arguments& args) {
  FlagSet flags("model list", "Lists the server's models.");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto models = ModelsClient(*connection).List();
  if (!models.ok()) return Fail(context, models.status());
  Table table({"model", "state", "version", "lag", "task", "classes", "parameters", "strategy"});
  for (const v1::Model& model : *models) {
    if (context.json) {
      *context.out << ToJson(model).dump() << "\n";
    } else {
      table.Add({model.name(), StateText(model), absl::StrCat(model.version()), LagText(model),
                 model.current_task(), absl::StrCat(model.classes_size()),
                 absl::StrCat(model.parameters()), FormatStrategies(model.spec().strategies())});
    }
  }
  if (!context.json) *context.out << table.Text();
  return kExitOk;
}

int ModelShow(const VerbContext& context, const Arguments& args) {
  return OnNamedModel(context, args, "show", "Shows a model: state, task, classes, spec.",
                      [&](const ModelsClient& models, const std::string& name) {
                        return PrintResult(context, models.Get(name));
                      });
}

int ModelUpdate(const VerbContext& context, const Arguments& args) {
  std::string name;
  ModelFlags model_flags;
  FlagSet flags("model update",
                "Changes what may change live: the optimizer's numbers and live parameters.");
  flags.Positional("MODEL", &name, "its name");
  model_flags.DeclareLive(&flags);
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  v1::ModelSpec scratch;
  const absl::Status readable = model_flags.ApplyTo(&scratch);
  if (!readable.ok()) return WrongUsage(context, readable, flags);
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto updated = UpdateOn(ModelsClient(*connection), name, model_flags);
  if (!updated.ok()) return Fail(context, updated.status());
  if (context.json) {
    *context.out << ToJson(*updated).dump() << "\n";
  } else {
    *context.out << "changed at sequence " << updated->sequence() << "\n";
    PrintModel(context, updated->model());
  }
  return kExitOk;
}

int ModelDelete(const VerbContext& context, const Arguments& args) {
  return OnNamedModel(context, args, "delete",
                      "Deletes a model with its log, checkpoints and memory.",
                      [&](const ModelsClient& models, const std::string& name) {
                        const absl::Status deleted = models.Delete(name);
                        if (!deleted.ok()) return Fail(context, deleted);
                        *context.out << (context.json ? Json({{"deleted", name}}).dump()
                                                      : absl::StrCat("deleted ", name))
                                     << "\n";
                        return kExitOk;
                      });
}

int ModelPause(const VerbContext& context, const Arguments& args) {
  return OnNamedModel(context, args, "pause",
                      "Stops training; the model still accepts, acks and predicts.",
                      [&](const ModelsClient& models, const std::string& name) {
                        return PrintResult(context, models.Pause(name));
                      });
}

int ModelResume(const VerbContext& context, const Arguments& args) {
  return OnNamedModel(context, args, "resume", "Resumes the training of a paused model.",
                      [&](const ModelsClient& models, const std::string& name) {
                        return PrintResult(context, models.Resume(name));
                      });
}

}  // namespace engram::client
