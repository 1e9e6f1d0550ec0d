#include "client/scenario/run_plan.h"

#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/scenario/protocols.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

constexpr int64_t kSeedsMax = 1000;

// What the user named, or what the scenario is known for; an unknown scenario is found later.
absl::StatusOr<Incremental> IncrementalOf(const RunFlags& run) {
  if (!run.incremental.empty()) return ParseIncremental(run.incremental);
  for (const ScenarioHelp& help : ListScenarios()) {
    if (help.name == run.options.scenario.name) return help.incremental;
  }
  return Incremental::kClass;
}

absl::StatusOr<std::vector<uint64_t>> SeedsOf(const RunFlags& run) {
  if (run.seeds.empty()) return std::vector<uint64_t>{run.options.scenario.seed};
  if (run.seeds.size() > 1) {
    for (const int64_t seed : run.seeds) {
      ENGRAM_RETURN_IF_ERROR(CheckOption("seeds", seed, 0, INT64_MAX));
    }
    return std::vector<uint64_t>(run.seeds.begin(), run.seeds.end());
  }
  ENGRAM_RETURN_IF_ERROR(CheckOption("seeds", run.seeds.front(), 1, kSeedsMax));
  std::vector<uint64_t> seeds(static_cast<size_t>(run.seeds.front()));
  std::iota(seeds.begin(), seeds.end(), 1);
  return seeds;
}

// Runs cannot share one model: of several, the name is the beginning.
std::string ModelOf(const RunOptions& options, bool several_strategies, bool several_seeds) {
  if (options.model.empty()) return "";
  std::string name = options.model;
  if (several_strategies) absl::StrAppend(&name, "-", StrategyStem(options.strategy));
  if (several_seeds) absl::StrAppend(&name, "-s", options.scenario.seed);
  return name;
}

void AddScenarioFlags(RunFlags* run, client::FlagSet* flags) {
  ScenarioOptions* scenario = &run->options.scenario;
  flags->Positional("SCENARIO", &scenario->name, "see `engram scenario list`")
      .String("data", &run->options.data_path,
              "folder of the scenario's files, or its one file; without it digits are drawn")
      .Takes("PATH")
      .Bool("previous_label", &run->options.previous_label,
            "streams: the label of the example before is a feature")
      .String("scenario", &run->incremental, "class, task or domain; else the scenario's default")
      .Takes("class|task|domain")
      .String("protocol", &run->options.protocol,
              "whose settings to begin with, see `engram scenario protocols`")
      .Int64("tasks", &scenario->tasks, "number of tasks; 0 = the scenario's default")
      .Int64("examples_per_task", &scenario->examples_per_task,
             "TRAIN examples a task; 0 = the scenario's default")
      .Int64("held_out_per_task", &scenario->held_out_per_task,
             "HELD_OUT rows a task; 0 = the whole test set")
      .Int64("validation_rows", &scenario->validation_rows,
             "first rows of the training set that no task gets")
      .Int64("side", &scenario->side, "pad grey pictures to a square of this side; 0 = as they are")
      .Bool("shuffle_classes", &scenario->shuffle_classes, "the seed decides which classes meet")
      .String("angles", &run->angles, "of rotations: even, slices or uniform")
      .Takes("even|slices|uniform")
      .Uint64("seed", &scenario->seed, "of the order, the permutations and the model");
}

}  // namespace

void AddRunFlags(RunFlags* run, client::FlagSet* flags) {
  AddScenarioFlags(run, flags);
  RunOptions* options = &run->options;
  flags
      ->Strings("strategy", &run->strategies,
                "e.g. finetune or experience_replay:memory_size=500+ewc; each one given is run")
      .Takes("STRATEGY")
      .Int64s("seeds", &run->seeds, "N: seeds 1 to N; or several seeds; instead of --seed")
      .String("resume", &run->resume_file,
              "append each run's result to this file, and skip the runs that it holds")
      .Takes("FILE")
      .Int64s("hidden", &options->hidden, "units of each hidden layer")
      .String("head", &options->head, "growing, or fixed: every output from the start")
      .Takes("growing|fixed")
      .String("optimizer", &options->optimizer, "sgd, adam or adamw, e.g. sgd:momentum=0.9")
      .Double("lr", &options->learning_rate, "learning rate")
      .String("penalty_schedule", &options->penalty_schedule,
              "of lambda: constant, tasks, task_share, class_share, step_decay or task_decay; "
              "e.g. class_share:warm_up_steps=500")
      .String("augment", &options->augmentation,
              "views that are trained, e.g. height=28,width=28,crop_padding=4,mixup_alpha=0.2")
      .Int64("batch_size", &options->schedule.batch_size, "examples a step")
      .Int64("epochs", &options->schedule.epochs, "passes over each task")
      .Int64("iterations", &options->schedule.iterations,
             "steps a task, whatever --epochs says; 0 = epochs count")
      .Bool("drop_last", &options->schedule.drop_last, "a pass ends with its last whole batch")
      .String("model", &options->model,
              "name of the model (of several runs: its beginning); else made up")
      .Takes("MODEL")
      .Bool("keep_model", &options->keep_model, "do not delete the model at the end")
      .Bool("checkpoints", &options->checkpoints, "a checkpoint after-TASK after each task")
      .Bool("predict_load", &options->predict_load, "predict all the while, and measure it")
      .Int64("message_examples", &options->message_examples, "examples a message");
}

void AddEvaluateFlags(RunFlags* run, client::FlagSet* flags) {
  AddRunFlags(run, flags);
  flags->Uint64("version", &run->version, "of the model; 0 = the live one");
}

absl::StatusOr<RunOptions> ResolveOptions(const std::vector<std::string>& args, const RunFlags& run,
                                          const std::string& strategy) {
  ENGRAM_ASSIGN_OR_RETURN(const Incremental incremental, IncrementalOf(run));
  ENGRAM_ASSIGN_OR_RETURN(ResolvedProtocol resolved,
                          ResolveProtocol(run.options.protocol, run.options.scenario.name,
                                          incremental, strategy));
  // Every flag there is: what the verb itself does not take was refused before.
  RunFlags merged;
  client::FlagSet flags("", "");
  AddEvaluateFlags(&merged, &flags);
  std::vector<std::string> words = std::move(resolved.flags);
  words.insert(words.end(), args.begin(), args.end());
  ENGRAM_RETURN_IF_ERROR(flags.Parse(words));
  RunOptions options = std::move(merged.options);
  options.strategy = std::move(resolved.strategy);
  options.scenario.incremental = incremental;
  ENGRAM_ASSIGN_OR_RETURN(options.scenario.angles, ParseAngles(merged.angles));
  ENGRAM_RETURN_IF_ERROR(CheckRunOptions(options));
  return options;
}

absl::StatusOr<RunPlan> MakeRunPlan(const std::vector<std::string>& args, const RunFlags& run) {
  std::vector<std::string> strategies = run.strategies;
  if (strategies.empty()) strategies.push_back(run.options.strategy);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<uint64_t> seeds, SeedsOf(run));
  RunPlan plan;
  plan.seeds = !run.seeds.empty();
  plan.resume_file = run.resume_file;
  for (const std::string& strategy : strategies) {
    ENGRAM_ASSIGN_OR_RETURN(RunOptions options, ResolveOptions(args, run, strategy));
    const std::string model = options.model;
    plan.strategies.emplace_back();
    for (const uint64_t seed : seeds) {
      options.scenario.seed = seed;
      options.model = model;
      options.model = ModelOf(options, strategies.size() > 1, seeds.size() > 1);
      plan.strategies.back().push_back(options);
    }
  }
  return plan;
}

}  // namespace engram::scenario
