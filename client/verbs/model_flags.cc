#include "client/verbs/model_flags.h"

#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/examples.h"
#include "client/spec_flags.h"
#include "storage/base/status_macros.h"

namespace engram::client {
namespace {

using engram::v1::ModelSpec;
using engram::v1::PretrainedWeights;
using engram::v1::StrategySpec;

// The strategy of the same kind, or nullptr.
StrategySpec* SameKind(const StrategySpec& wanted, ModelSpec* spec) {
  for (StrategySpec& present : *spec->mutable_strategies()) {
    if (present.kind_case() == wanted.kind_case()) return &present;
  }
  return nullptr;
}

}  // namespace

void ModelFlags::DeclareCreation(FlagSet* flags) {
  flags
      ->String("spec", &spec_file_,
               "file with a ModelSpec in protobuf text form; flags win over it")
      .Takes("FILE")
      .Int64("features", &features_, "values an example has, e.g. 784")
      .Int64s("hidden", &hidden_, "units of each hidden layer, e.g. 256,256")
      .Bool("no_hidden", &no_hidden_, "no hidden layer: logistic regression")
      .String("head", &head_, "growing, fixed or per_task")
      .Takes("growing|fixed|per_task")
      .String("labels", &labels_, "labels that have a class from the start, joined by commas")
      .Takes("LABEL,...")
      .Int64("batch_size", &batch_size_, "examples a step")
      .Int64("max_batch_wait_ms", &max_batch_wait_ms_, "a partial batch trains after this wait")
      .Uint64("seed", &seed_, "of initialisation, reservoirs and draws")
      .Double("held_out_fraction", &held_out_fraction_, "share of TRAIN examples held out instead")
      .Int64("max_classes", &max_classes_, "most classes")
      .Double("max_abs_feature", &max_abs_feature_, "largest absolute feature value accepted")
      .Int64("evaluate_every", &evaluate_every_,
             "examples between evaluations; 0 = boundaries only")
      .Int64("checkpoint_every", &checkpoint_every_, "examples between automatic checkpoints")
      .String("first_task", &first_task_, "name of the first task")
      .Double("label_smoothing", &label_smoothing_, "share of each target spread over all classes")
      .Double("ema_decay", &ema_decay_, "above 0: a moving average of the weights is served")
      .Double("max_sender_share", &max_sender_share_,
              "most of an episodic memory that one producer's examples may have; 1: no cap")
      .String("weights", &weights_file_,
              "safetensors file to start from; tensors hidden0.weight, hidden0.bias, ... or "
              "those of a PyTorch nn.Sequential")
      .Takes("FILE")
      .String("weights_scope", &weights_scope_,
              "trunk (default: the head is drawn) or strict (the head comes from the file too)")
      .Takes("trunk|strict");
}

void ModelFlags::DeclareLive(FlagSet* flags) {
  flags->Double("lr", &learning_rate_, "learning rate")
      .String("optimizer", &optimizer_, "sgd, adam or adamw; parameters as sgd:momentum=0.9")
      .Double("clip_norm", &clip_norm_, "longest gradient; 0 = as long as it is")
      .String("schedule", &schedule_,
              "constant, step, cosine or plateau; e.g. cosine:period_steps=2000,floor=0.1")
      .String("penalty_schedule", &penalty_schedule_,
              "of lambda: constant, tasks, task_share, class_share, step_decay or task_decay; "
              "e.g. class_share:warm_up_steps=500")
      .String("augment", &augmentation_,
              "views that are trained, e.g. height=28,width=28,crop_padding=4,mixup_alpha=0.2")
      .Strings("strategy", &strategies_,
               "NAME or NAME:key=value,...; several flags or joined by '+', outermost first")
      .Takes("STRATEGY");
}

void ModelFlags::ApplyNumbers(ModelSpec* spec) const {
  if (features_) spec->set_feature_count(*features_);
  if (batch_size_) spec->set_batch_size(*batch_size_);
  if (max_batch_wait_ms_) spec->set_max_batch_wait_ms(*max_batch_wait_ms_);
  if (seed_) spec->set_seed(*seed_);
  if (held_out_fraction_) spec->set_held_out_fraction(*held_out_fraction_);
  if (max_classes_) spec->set_max_classes(*max_classes_);
  if (max_abs_feature_) spec->set_max_abs_feature(*max_abs_feature_);
  if (evaluate_every_) spec->set_evaluate_every_examples(*evaluate_every_);
  if (checkpoint_every_) spec->set_checkpoint_every_examples(*checkpoint_every_);
  if (!first_task_.empty()) spec->set_first_task(first_task_);
  if (label_smoothing_) spec->set_label_smoothing(*label_smoothing_);
  if (ema_decay_) spec->set_ema_decay(*ema_decay_);
  if (max_sender_share_) spec->set_max_sender_share(*max_sender_share_);
  if (clip_norm_) spec->mutable_optimizer()->set_clip_norm(*clip_norm_);
  if (learning_rate_) spec->mutable_optimizer()->set_learning_rate(*learning_rate_);
}

absl::Status ModelFlags::ApplyNetwork(ModelSpec* spec) const {
  if (no_hidden_ || !hidden_.empty()) {
    spec->mutable_mlp()->mutable_hidden()->Assign(hidden_.begin(), hidden_.end());
  }
  if (!head_.empty()) ENGRAM_RETURN_IF_ERROR(SetHead(head_, spec->mutable_head()));
  if (!optimizer_.empty()) {
    ENGRAM_RETURN_IF_ERROR(SetOptimizer(optimizer_, spec->mutable_optimizer()));
  }
  if (!schedule_.empty()) {
    ENGRAM_RETURN_IF_ERROR(SetSchedule(schedule_, spec->mutable_optimizer()->mutable_schedule()));
  }
  if (!penalty_schedule_.empty()) {
    ENGRAM_RETURN_IF_ERROR(
        SetPenaltySchedule(penalty_schedule_, spec->mutable_penalty_schedule()));
  }
  if (!augmentation_.empty()) {
    ENGRAM_RETURN_IF_ERROR(SetAugmentation(augmentation_, spec->mutable_augmentation()));
  }
  if (labels_.empty()) return absl::OkStatus();
  spec->clear_labels();
  for (const absl::string_view label : absl::StrSplit(labels_, ',')) {
    int64_t number = 0;
    *spec->add_labels() = absl::SimpleAtoi(label, &number) ? NumberLabel(number) : TextLabel(label);
  }
  return absl::OkStatus();
}

absl::Status ModelFlags::ApplyStrategies(ModelSpec* spec) const {
  for (const std::string& text : strategies_) {
    ENGRAM_ASSIGN_OR_RETURN(const auto parsed, ParseStrategyList(text));
    for (const StrategySpec& wanted : parsed) {
      StrategySpec* present = SameKind(wanted, spec);
      (present != nullptr ? present : spec->add_strategies())->MergeFrom(wanted);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<absl::optional<std::string>> ModelFlags::ReadWeights() const {
  if (weights_file_.empty()) return absl::optional<std::string>();
  ENGRAM_ASSIGN_OR_RETURN(std::string bytes, ReadWeightsFile("--weights", weights_file_));
  return absl::optional<std::string>(std::move(bytes));
}

absl::StatusOr<PretrainedWeights::Scope> ModelFlags::WeightsScope() const {
  if (weights_scope_.empty() || weights_scope_ == "trunk") return PretrainedWeights::TRUNK;
  if (weights_scope_ == "strict") return PretrainedWeights::STRICT;
  return absl::InvalidArgumentError(
      absl::StrCat("--weights_scope: must be trunk or strict, got \"", weights_scope_, "\""));
}

absl::Status ModelFlags::ApplyTo(ModelSpec* spec) const {
  if (!spec_file_.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(*spec, ReadSpecFile(spec_file_));
  }
  if (weights_file_.empty() && !weights_scope_.empty()) {
    return absl::InvalidArgumentError("--weights_scope goes with --weights FILE");
  }
  if (no_hidden_ && !hidden_.empty()) {
    return absl::InvalidArgumentError("--hidden and --no_hidden exclude each other");
  }
  ApplyNumbers(spec);
  ENGRAM_RETURN_IF_ERROR(ApplyNetwork(spec));
  return ApplyStrategies(spec);
}

absl::StatusOr<std::string> ReadWeightsFile(absl::string_view flag, const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream bytes;
  // A folder opens, and fails here; iterators would throw.
  if (file.is_open() && file.peek() != std::ifstream::traits_type::eof()) bytes << file.rdbuf();
  if (file.is_open() && !file.bad() && !bytes.bad()) return bytes.str();
  return absl::InvalidArgumentError(absl::StrCat(flag, ": cannot read ", path));
}

}  // namespace engram::client
