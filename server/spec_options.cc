#include "server/spec_options.h"

#include <cmath>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/names.h"
#include "server/spec_fields.h"
#include "server/tune_plan.h"
#include "storage/base/status_macros.h"
#include "storage/sha256.h"

namespace engram::server {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr int64_t kImportanceBytes = int64_t{256} << 20;

absl::Status Between(absl::string_view field, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return BadField(field, absl::StrCat("must be in [", min, ", ", max, "], got ", value));
}

int64_t OrDefault(int64_t value, int64_t fallback) { return value == 0 ? fallback : value; }

strategies::ParameterValue ReadField(const Message& message, const FieldDescriptor* field) {
  const auto* reflection = message.GetReflection();
  switch (field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection->GetBool(message, field);
    case FieldDescriptor::CPPTYPE_INT64:
      return int64_t{reflection->GetInt64(message, field)};
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection->GetDouble(message, field);
    case FieldDescriptor::CPPTYPE_ENUM:
      return absl::AsciiStrToLower(reflection->GetEnum(message, field)->name());
    default:
      return reflection->GetString(message, field);
  }
}

// Unset fields with presence get the registry's default; enums and plain fields have theirs at 0.
void WriteDefault(const strategies::ParameterHelp& help, Message* message) {
  const FieldDescriptor* field = message->GetDescriptor()->FindFieldByName(help.name);
  const auto* reflection = message->GetReflection();
  if (field == nullptr || !field->has_presence() || reflection->HasField(*message, field)) return;
  if (field->cpp_type() == FieldDescriptor::CPPTYPE_INT64) {
    if (const auto* value = absl::get_if<int64_t>(&help.default_value)) {
      reflection->SetInt64(message, field, *value);
    }
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
    if (const auto* value = absl::get_if<double>(&help.default_value)) {
      reflection->SetDouble(message, field, *value);
    }
  } else if (field->cpp_type() == FieldDescriptor::CPPTYPE_BOOL) {
    if (const auto* value = absl::get_if<bool>(&help.default_value)) {
      reflection->SetBool(message, field, *value);
    }
  }
}

absl::Status CompleteStrategies(v1::ModelSpec* spec) {
  if (spec->strategies_size() == 0) spec->add_strategies()->mutable_finetune();
  for (int i = 0; i < spec->strategies_size(); ++i) {
    v1::StrategySpec* strategy = spec->mutable_strategies(i);
    const FieldDescriptor* field = StrategyField(*strategy);
    if (field == nullptr) {
      return BadField(absl::StrCat("spec.strategies[", i, "]"), "names no strategy");
    }
    Message* message = v1::StrategySpec::GetReflection()->MutableMessage(strategy, field);
    for (const auto& help : strategies::ListStrategies()) {
      if (help.name != field->name()) continue;
      for (const auto& parameter : help.parameters) WriteDefault(parameter, message);
    }
  }
  return absl::OkStatus();
}

absl::Status CompleteOptimizer(v1::Optimizer* optimizer) {
  if (!optimizer->has_learning_rate()) optimizer->set_learning_rate(0.05);
  v1::Schedule* schedule = optimizer->mutable_schedule();
  if (!v1::Schedule::Kind_IsValid(schedule->kind())) {
    return BadField("spec.optimizer.schedule.kind",
                    absl::StrCat("unknown value ", static_cast<int>(schedule->kind())));
  }
  if (!schedule->has_period_steps()) schedule->set_period_steps(1000);
  if (!schedule->has_decay()) schedule->set_decay(0.5);
  if (optimizer->kind_case() == v1::Optimizer::KIND_NOT_SET) optimizer->mutable_sgd();
  if (optimizer->has_sgd()) return absl::OkStatus();
  v1::Optimizer::Adam* adam =
      optimizer->has_adam() ? optimizer->mutable_adam() : optimizer->mutable_adamw();
  if (!adam->has_beta1()) adam->set_beta1(0.9);
  if (!adam->has_beta2()) adam->set_beta2(0.999);
  if (!adam->has_epsilon()) adam->set_epsilon(1e-8);
  return absl::OkStatus();
}

absl::Status CompleteGuard(v1::ModelSpec* spec) {
  if (!spec->has_guard()) return absl::OkStatus();
  v1::Guard* guard = spec->mutable_guard();
  ENGRAM_RETURN_IF_ERROR(Between("spec.guard.canary_drop", guard->canary_drop(), 0, 1));
  if (!v1::Guard::Action_IsValid(guard->action())) {
    return BadField("spec.guard.action",
                    absl::StrCat("unknown value ", static_cast<int>(guard->action())));
  }
  if (guard->action() != v1::Guard::REPORT && guard->canary_drop() == 0) {
    return BadField("spec.guard.canary_drop",
                    "must be above 0 for an action, got 0: nothing would ever fire");
  }
  guard->set_max_rollbacks(OrDefault(guard->max_rollbacks(), 3));
  return Between("spec.guard.max_rollbacks", guard->max_rollbacks(), 1, 100);
}

absl::Status CompleteQuarantine(v1::ModelSpec* spec) {
  if (!spec->has_quarantine()) return absl::OkStatus();
  v1::Quarantine* quarantine = spec->mutable_quarantine();
  const double score = quarantine->min_label_score();
  if (!(score >= 0 && score < 1)) {
    return BadField("spec.quarantine.min_label_score",
                    absl::StrCat("must be in [0, 1), got ", score));
  }
  const double deviation = quarantine->max_deviation();
  if (!(deviation >= 0 && std::isfinite(deviation))) {
    return BadField("spec.quarantine.max_deviation",
                    absl::StrCat("must be finite and at least 0, got ", deviation));
  }
  if (score == 0 && deviation == 0) {
    return BadField("spec.quarantine",
                    "min_label_score or max_deviation must be above 0, got 0 for both: nothing "
                    "would ever be set aside");
  }
  quarantine->set_after_examples(OrDefault(quarantine->after_examples(), 200));
  ENGRAM_RETURN_IF_ERROR(
      Between("spec.quarantine.after_examples", quarantine->after_examples(), 1, 1000000));
  if (quarantine->max_share() == 0) quarantine->set_max_share(0.2);
  if (quarantine->max_share() > 0 && quarantine->max_share() <= 1) return absl::OkStatus();
  return BadField("spec.quarantine.max_share",
                  absl::StrCat("must be in (0, 1], got ", quarantine->max_share()));
}

void CompleteAugmentation(v1::ModelSpec* spec) {
  if (!spec->has_augmentation() || spec->augmentation().has_channels()) return;
  spec->mutable_augmentation()->set_channels(1);
}

absl::Status CompletePenaltySchedule(v1::ModelSpec* spec) {
  if (!spec->has_penalty_schedule()) return absl::OkStatus();
  v1::PenaltySchedule* schedule = spec->mutable_penalty_schedule();
  if (!v1::PenaltySchedule::Kind_IsValid(schedule->kind())) {
    return BadField("spec.penalty_schedule.kind",
                    absl::StrCat("unknown value ", static_cast<int>(schedule->kind())));
  }
  if (!schedule->has_period_steps()) schedule->set_period_steps(1000);
  if (!schedule->has_decay()) schedule->set_decay(0.5);
  return absl::OkStatus();
}

absl::Status CheckLabels(const v1::ModelSpec& spec) {
  if (spec.head().kind() == v1::Head::FIXED && spec.labels_size() == 0) {
    return BadField("spec.labels", "required with a FIXED head");
  }
  if (spec.labels_size() > spec.max_classes()) {
    return BadField("spec.labels", absl::StrCat("expected at most max_classes = ",
                                                spec.max_classes(), ", got ", spec.labels_size()));
  }
  std::set<std::string> seen;
  for (int i = 0; i < spec.labels_size(); ++i) {
    const v1::Label& label = spec.labels(i);
    const std::string field = absl::StrCat("spec.labels[", i, "]");
    if (label.kind_case() == v1::Label::KIND_NOT_SET) return BadField(field, "required");
    if (label.kind_case() != spec.labels(0).kind_case()) {
      return BadField(field, "labels of a model are of one kind, number or text");
    }
    if (label.has_text() && (label.text().empty() || label.text().size() > 256)) {
      return BadField(field, "text must have 1 to 256 bytes");
    }
    if (!seen.insert(label.SerializeAsString()).second) return BadField(field, "given twice");
  }
  return absl::OkStatus();
}

void CompleteNumbers(v1::ModelSpec* spec) {
  spec->set_batch_size(OrDefault(spec->batch_size(), 10));
  if (!spec->has_max_batch_wait_ms()) spec->set_max_batch_wait_ms(50);
  if (!spec->has_max_abs_feature()) spec->set_max_abs_feature(1e6);
  spec->set_max_classes(OrDefault(spec->max_classes(), 10000));
  if (!spec->has_held_out_fraction()) spec->set_held_out_fraction(0.02);
  spec->set_held_out_max_per_task(OrDefault(spec->held_out_max_per_task(), 500));
  if (!spec->has_evaluate_every_examples()) spec->set_evaluate_every_examples(10000);
  spec->set_publish_every_steps(OrDefault(spec->publish_every_steps(), 32));
  spec->set_publish_every_ms(OrDefault(spec->publish_every_ms(), 100));
  spec->set_checkpoint_every_examples(OrDefault(spec->checkpoint_every_examples(), 100000));
  spec->set_keep_automatic_checkpoints(OrDefault(spec->keep_automatic_checkpoints(), 5));
  spec->set_importance_bytes(OrDefault(spec->importance_bytes(), kImportanceBytes));
  if (spec->first_task().empty()) spec->set_first_task("task-1");
  if (spec->max_sender_share() == 1) spec->clear_max_sender_share();
  // A model made before there was the field has none.
  if (spec->min_task_examples() == 1) spec->clear_min_task_examples();
}

absl::Status CheckNumbers(const v1::ModelSpec& spec) {
  ENGRAM_RETURN_IF_ERROR(Between("spec.feature_count", spec.feature_count(), 1, 65536));
  ENGRAM_RETURN_IF_ERROR(Between("spec.batch_size", spec.batch_size(), 1, 1024));
  ENGRAM_RETURN_IF_ERROR(
      Between("spec.max_batch_wait_ms", spec.max_batch_wait_ms(), 0, 24 * 3600 * 1000));
  if (!(spec.max_abs_feature() > 0 && std::isfinite(spec.max_abs_feature()))) {
    return BadField("spec.max_abs_feature",
                    absl::StrCat("must be finite and above 0, got ", spec.max_abs_feature()));
  }
  ENGRAM_RETURN_IF_ERROR(Between("spec.max_classes", spec.max_classes(), 1, 10000));
  ENGRAM_RETURN_IF_ERROR(Between("spec.held_out_fraction", spec.held_out_fraction(), 0, 0.5));
  ENGRAM_RETURN_IF_ERROR(
      Between("spec.held_out_max_per_task", spec.held_out_max_per_task(), 1, 100000));
  ENGRAM_RETURN_IF_ERROR(
      Between("spec.evaluate_every_examples", spec.evaluate_every_examples(), 0, 1e12));
  ENGRAM_RETURN_IF_ERROR(Between("spec.publish_every_steps", spec.publish_every_steps(), 1, 1e9));
  ENGRAM_RETURN_IF_ERROR(Between("spec.publish_every_ms", spec.publish_every_ms(), 1, 3600000));
  ENGRAM_RETURN_IF_ERROR(
      Between("spec.checkpoint_every_examples", spec.checkpoint_every_examples(), 1, 1e12));
  ENGRAM_RETURN_IF_ERROR(
      Between("spec.keep_automatic_checkpoints", spec.keep_automatic_checkpoints(), 1, 60));
  ENGRAM_RETURN_IF_ERROR(Between("spec.importance_bytes", spec.importance_bytes(), 1, 1e13));
  ENGRAM_RETURN_IF_ERROR(Between("spec.min_task_examples", spec.min_task_examples(), 0, 1e6));
  if (!IsName(spec.first_task())) {
    return BadField("spec.first_task", NotAName(spec.first_task()));
  }
  return absl::OkStatus();
}

strategies::ScheduleOptions ToScheduleOptions(const v1::Schedule& schedule) {
  strategies::ScheduleOptions options;
  switch (schedule.kind()) {
    case v1::Schedule::STEP:
      options.kind = strategies::ScheduleKind::kStep;
      break;
    case v1::Schedule::COSINE:
      options.kind = strategies::ScheduleKind::kCosine;
      break;
    case v1::Schedule::PLATEAU:
      options.kind = strategies::ScheduleKind::kPlateau;
      break;
    default:
      break;
  }
  options.period_steps = schedule.period_steps();
  options.decay = schedule.decay();
  options.floor = schedule.floor();
  options.warm_up_steps = schedule.warm_up_steps();
  options.restart_at_boundary = schedule.restart_at_boundary();
  return options;
}

strategies::OptimizerOptions ToOptimizerOptions(const v1::Optimizer& optimizer) {
  strategies::OptimizerOptions options;
  options.learning_rate = optimizer.learning_rate();
  options.clip_norm = optimizer.clip_norm();
  options.schedule = ToScheduleOptions(optimizer.schedule());
  if (optimizer.has_sgd()) {
    options.momentum = optimizer.sgd().momentum();
    options.weight_decay = optimizer.sgd().weight_decay();
    return options;
  }
  const v1::Optimizer::Adam& adam = optimizer.has_adam() ? optimizer.adam() : optimizer.adamw();
  options.kind = optimizer.has_adam() ? strategies::OptimizerKind::kAdam
                                      : strategies::OptimizerKind::kAdamW;
  options.beta1 = adam.beta1();
  options.beta2 = adam.beta2();
  options.epsilon = adam.epsilon();
  options.weight_decay = adam.weight_decay();
  return options;
}

strategies::PenaltyScheduleOptions ToPenaltyScheduleOptions(const v1::PenaltySchedule& schedule) {
  using Kind = strategies::PenaltyScheduleKind;
  strategies::PenaltyScheduleOptions options;
  switch (schedule.kind()) {
    case v1::PenaltySchedule::TASKS:
      options.kind = Kind::kTasks;
      break;
    case v1::PenaltySchedule::TASK_SHARE:
      options.kind = Kind::kTaskShare;
      break;
    case v1::PenaltySchedule::CLASS_SHARE:
      options.kind = Kind::kClassShare;
      break;
    case v1::PenaltySchedule::STEP_DECAY:
      options.kind = Kind::kStepDecay;
      break;
    case v1::PenaltySchedule::TASK_DECAY:
      options.kind = Kind::kTaskDecay;
      break;
    default:
      break;
  }
  if (schedule.has_period_steps()) options.period_steps = schedule.period_steps();
  if (schedule.has_decay()) options.decay = schedule.decay();
  options.floor = schedule.floor();
  options.warm_up_steps = schedule.warm_up_steps();
  return options;
}

strategies::AugmentationOptions ToAugmentationOptions(const v1::Augmentation& augmentation) {
  strategies::AugmentationOptions options;
  options.height = augmentation.height();
  options.width = augmentation.width();
  if (augmentation.has_channels()) options.channels = augmentation.channels();
  options.flip_horizontal = augmentation.flip_horizontal();
  options.flip_vertical = augmentation.flip_vertical();
  options.crop_padding = augmentation.crop_padding();
  options.rotate_degrees = augmentation.rotate_degrees();
  options.scale = augmentation.scale();
  options.noise = augmentation.noise();
  options.mixup_alpha = augmentation.mixup_alpha();
  options.cutmix_alpha = augmentation.cutmix_alpha();
  return options;
}

strategies::StrategySpec ToStrategy(const v1::StrategySpec& spec) {
  strategies::StrategySpec strategy;
  const FieldDescriptor* kind = StrategyField(spec);
  strategy.name = kind->name();
  const Message& message = v1::StrategySpec::GetReflection()->GetMessage(spec, kind);
  for (int i = 0; i < message.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = message.GetDescriptor()->field(i);
    if (field->has_presence() && !message.GetReflection()->HasField(message, field)) continue;
    strategy.parameters[field->name()] = ReadField(message, field);
  }
  return strategy;
}

// Validation by the strategies names fields without the request's prefix.
absl::Status InSpec(const absl::Status& status) {
  if (status.ok()) return status;
  const absl::string_view message = status.message();
  const size_t colon = message.find(": ");
  if (colon == absl::string_view::npos) return BadField("spec", message);
  return BadField(absl::StrCat("spec.", message.substr(0, colon)), message.substr(colon + 2));
}

}  // namespace

absl::StatusOr<v1::ModelSpec> CompleteSpec(v1::ModelSpec spec) {
  if (spec.has_tune()) {
    const v1::Tune tune = std::move(*spec.mutable_tune());
    spec.clear_tune();
    ENGRAM_ASSIGN_OR_RETURN(spec, CompleteSpec(std::move(spec)));
    ENGRAM_ASSIGN_OR_RETURN(*spec.mutable_tune(), CompleteTune(tune, spec));
    return spec;
  }
  if (spec.network_case() == v1::ModelSpec::NETWORK_NOT_SET) {
    spec.mutable_mlp()->add_hidden(256);
    spec.mutable_mlp()->add_hidden(256);
  }
  if (!v1::Head::Kind_IsValid(spec.head().kind())) {
    return BadField("spec.head.kind",
                    absl::StrCat("unknown value ", static_cast<int>(spec.head().kind())));
  }
  spec.mutable_head();
  CompleteNumbers(&spec);
  ENGRAM_RETURN_IF_ERROR(CompleteOptimizer(spec.mutable_optimizer()));
  CompleteAugmentation(&spec);
  ENGRAM_RETURN_IF_ERROR(CompletePenaltySchedule(&spec));
  ENGRAM_RETURN_IF_ERROR(CompleteGuard(&spec));
  ENGRAM_RETURN_IF_ERROR(CompleteQuarantine(&spec));
  ENGRAM_RETURN_IF_ERROR(CompleteStrategies(&spec));
  ENGRAM_RETURN_IF_ERROR(CheckNumbers(spec));
  ENGRAM_RETURN_IF_ERROR(CheckLabels(spec));
  ENGRAM_RETURN_IF_ERROR(InSpec(strategies::ValidateOptions(ToModelOptions(spec))));
  return spec;
}

strategies::ModelOptions ToModelOptions(const v1::ModelSpec& spec) {
  strategies::ModelOptions options;
  options.feature_count = spec.feature_count();
  options.hidden.assign(spec.mlp().hidden().begin(), spec.mlp().hidden().end());
  options.head.max_classes = spec.max_classes();
  if (spec.head().kind() == v1::Head::FIXED) {
    options.head.kind = strategies::HeadKind::kFixed;
    options.head.head_classes = spec.labels_size();
  } else if (spec.head().kind() == v1::Head::PER_TASK) {
    options.head.kind = strategies::HeadKind::kPerTask;
  }
  options.optimizer = ToOptimizerOptions(spec.optimizer());
  for (const auto& strategy : spec.strategies()) {
    options.strategies.push_back(ToStrategy(strategy));
  }
  options.label_smoothing = spec.label_smoothing();
  options.ema_decay = spec.ema_decay();
  options.augmentation = ToAugmentationOptions(spec.augmentation());
  options.penalty_schedule = ToPenaltyScheduleOptions(spec.penalty_schedule());
  options.seed = spec.seed();
  options.batch_size = spec.batch_size();
  options.max_update_norm = spec.max_update_norm();
  if (spec.has_max_sender_share()) options.max_sender_share = spec.max_sender_share();
  return options;
}

void SetWeightsOrigin(const v1::PretrainedWeights& weights, v1::ModelSpec* spec) {
  v1::WeightsOrigin* origin = spec->mutable_weights();
  origin->set_scope(weights.scope() == v1::PretrainedWeights::STRICT
                        ? v1::PretrainedWeights::STRICT
                        : v1::PretrainedWeights::TRUNK);
  origin->set_bytes(static_cast<int64_t>(weights.safetensors().size()));
  origin->set_sha256(storage::Sha256Hex(weights.safetensors()));
  if (!spec->has_tune()) return;
  for (v1::Tune::Candidate& candidate : *spec->mutable_tune()->mutable_candidates()) {
    *candidate.mutable_spec()->mutable_weights() = *origin;
  }
}

strategies::PretrainedWeights ToPretrainedWeights(const v1::ModelSpec& spec,
                                                  absl::string_view bytes) {
  strategies::PretrainedWeights weights;
  weights.safetensors = bytes;
  if (spec.weights().scope() == v1::PretrainedWeights::STRICT) {
    weights.scope = strategies::PretrainedWeights::Scope::kStrict;
  }
  for (const v1::Label& label : spec.labels()) {
    weights.labels.push_back(label.has_number() ? absl::StrCat(label.number()) : label.text());
  }
  return weights;
}

absl::Status CheckLiveChange(const v1::ModelSpec& current, const v1::ModelSpec& next) {
  ENGRAM_RETURN_IF_ERROR(
      InSpec(strategies::ValidateLiveChange(ToModelOptions(current), ToModelOptions(next))));
  v1::ModelSpec rest = next;
  CopyLiveFields(current, &rest);
  rest.clear_tune();
  v1::ModelSpec before = current;
  before.clear_tune();
  const std::string difference = FirstDifference(before, rest);
  if (difference.empty()) return absl::OkStatus();
  return BadField("spec", absl::StrCat("cannot change on a running model: ", difference));
}

}  // namespace engram::server
