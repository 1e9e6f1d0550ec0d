// Validation of what a learner is made of.
#include "strategies/api/options.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/model_plan.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

constexpr int64_t kFeaturesMax = 65536;
constexpr int64_t kHiddenWidthMax = 65536;
constexpr int64_t kHiddenLayersMax = 16;
constexpr int64_t kClassesMax = 10000;
constexpr int64_t kBatchMax = 1024;
constexpr int64_t kStrategiesMax = 8;
constexpr double kUpdateNormMax = 1e9;
constexpr int64_t kParametersMax = int64_t{1} << 30;

absl::Status InRange(absl::string_view field, double value, double min, double max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": must be in [", min, ", ", max, "], got ", value));
}

// [min, max), for decay rates that must stay below 1.
absl::Status BelowOne(absl::string_view field, double value) {
  if (value >= 0 && value < 1) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(field, ": must be in [0, 1), got ", value));
}

absl::Status ValidateSenderShare(double share) {
  if (share > 0 && share <= 1) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("max_sender_share: must be in (0, 1], got ", share));
}

absl::Status CheckUpdateNorm(const std::vector<ResolvedStrategy>& resolved,
                             double max_update_norm) {
  ENGRAM_RETURN_IF_ERROR(InRange("max_update_norm", max_update_norm, 0, kUpdateNormMax));
  if (max_update_norm == 0) return absl::OkStatus();
  for (const ResolvedStrategy& strategy : resolved) {
    if (!strategy.entry->own_update) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("max_update_norm: strategy ", strategy.entry->help.name,
                     " does not learn by updates of the parameters that it could cap; leave it 0"));
  }
  return absl::OkStatus();
}

// An average follows the head as it grows; columns and modules grow otherwise.
absl::Status CheckAveraged(const std::vector<ResolvedStrategy>& resolved, double ema_decay) {
  for (const ResolvedStrategy& strategy : resolved) {
    if (ema_decay == 0 || strategy.entry->make_network == nullptr) continue;
    return absl::InvalidArgumentError(absl::StrCat("ema_decay: strategy ",
                                                   strategy.entry->help.name,
                                                   " has a network of its own, which is not "
                                                   "averaged; leave it 0"));
  }
  return absl::OkStatus();
}

absl::Status ValidateHead(const HeadOptions& head) {
  if (head.kind == HeadKind::kFixed) {
    return InRange("head.head_classes", static_cast<double>(head.head_classes), 1, kClassesMax);
  }
  return InRange("head.max_classes", static_cast<double>(head.max_classes), 1, kClassesMax);
}

absl::Status ValidateSchedule(const ScheduleOptions& schedule) {
  ENGRAM_RETURN_IF_ERROR(InRange("optimizer.schedule.period_steps",
                                 static_cast<double>(schedule.period_steps), 1, 1e12));
  ENGRAM_RETURN_IF_ERROR(InRange("optimizer.schedule.decay", schedule.decay, 0, 1));
  ENGRAM_RETURN_IF_ERROR(InRange("optimizer.schedule.floor", schedule.floor, 0, 1));
  return InRange("optimizer.schedule.warm_up_steps", static_cast<double>(schedule.warm_up_steps), 0,
                 1e12);
}

absl::Status ValidatePenaltySchedule(const PenaltyScheduleOptions& schedule) {
  ENGRAM_RETURN_IF_ERROR(InRange("penalty_schedule.period_steps",
                                 static_cast<double>(schedule.period_steps), 1, 1e12));
  ENGRAM_RETURN_IF_ERROR(InRange("penalty_schedule.decay", schedule.decay, 0, 1));
  ENGRAM_RETURN_IF_ERROR(InRange("penalty_schedule.floor", schedule.floor, 0, 1));
  return InRange("penalty_schedule.warm_up_steps", static_cast<double>(schedule.warm_up_steps), 0,
                 1e12);
}

absl::Status ValidateOptimizer(const OptimizerOptions& optimizer) {
  if (!(optimizer.learning_rate > 0 && optimizer.learning_rate <= 100)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "optimizer.learning_rate: must be in (0, 100], got ", optimizer.learning_rate));
  }
  ENGRAM_RETURN_IF_ERROR(InRange("optimizer.weight_decay", optimizer.weight_decay, 0, 1));
  if (optimizer.learning_rate * optimizer.weight_decay > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("optimizer.weight_decay: times learning_rate must be at most 1, got ",
                     optimizer.learning_rate * optimizer.weight_decay));
  }
  ENGRAM_RETURN_IF_ERROR(InRange("optimizer.clip_norm", optimizer.clip_norm, 0, 1e9));
  ENGRAM_RETURN_IF_ERROR(ValidateSchedule(optimizer.schedule));
  ENGRAM_RETURN_IF_ERROR(BelowOne("optimizer.momentum", optimizer.momentum));
  if (optimizer.kind == OptimizerKind::kSgd) return absl::OkStatus();
  if (optimizer.momentum != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("optimizer.momentum: only SGD takes it, got ", optimizer.momentum));
  }
  ENGRAM_RETURN_IF_ERROR(BelowOne("optimizer.beta1", optimizer.beta1));
  ENGRAM_RETURN_IF_ERROR(BelowOne("optimizer.beta2", optimizer.beta2));
  return InRange("optimizer.epsilon", optimizer.epsilon, 1e-12, 1);
}

absl::Status ValidateNetwork(const ModelOptions& options) {
  ENGRAM_RETURN_IF_ERROR(
      InRange("feature_count", static_cast<double>(options.feature_count), 1, kFeaturesMax));
  ENGRAM_RETURN_IF_ERROR(
      InRange("hidden", static_cast<double>(options.hidden.size()), 0, kHiddenLayersMax));
  int64_t in = options.feature_count, parameters = 0;
  for (size_t i = 0; i < options.hidden.size(); ++i) {
    ENGRAM_RETURN_IF_ERROR(InRange(absl::StrCat("hidden[", i, "]"),
                                   static_cast<double>(options.hidden[i]), 1, kHiddenWidthMax));
    parameters += (in + 1) * options.hidden[i];
    in = options.hidden[i];
  }
  if (parameters <= kParametersMax) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("hidden: ", parameters, " parameters exceed the limit of ", kParametersMax));
}

absl::Status ValidateAugmentation(const AugmentationOptions& augmentation, int64_t feature_count) {
  const int64_t height = augmentation.height, width = augmentation.width;
  ENGRAM_RETURN_IF_ERROR(
      InRange("augmentation.height", static_cast<double>(height), 0, kFeaturesMax));
  ENGRAM_RETURN_IF_ERROR(
      InRange("augmentation.width", static_cast<double>(width), 0, kFeaturesMax));
  ENGRAM_RETURN_IF_ERROR(InRange("augmentation.channels",
                                 static_cast<double>(augmentation.channels), 1, kFeaturesMax));
  const bool described = height > 0 || width > 0;
  if ((described || augmentation.needs_image()) &&
      height * width * augmentation.channels != feature_count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "augmentation.height: an image of height x width x channels must have the ", feature_count,
        " values of feature_count, got ", height, " x ", width, " x ", augmentation.channels));
  }
  ENGRAM_RETURN_IF_ERROR(InRange(
      "augmentation.crop_padding", static_cast<double>(augmentation.crop_padding), 0,
      augmentation.crop_padding == 0 ? 0 : static_cast<double>(std::min(height, width))));
  ENGRAM_RETURN_IF_ERROR(
      InRange("augmentation.rotate_degrees", augmentation.rotate_degrees, 0, 180));
  ENGRAM_RETURN_IF_ERROR(InRange("augmentation.scale", augmentation.scale, 0, 0.9));
  ENGRAM_RETURN_IF_ERROR(InRange("augmentation.noise", augmentation.noise, 0, 1e6));
  ENGRAM_RETURN_IF_ERROR(InRange("augmentation.mixup_alpha", augmentation.mixup_alpha, 0, 1e3));
  return InRange("augmentation.cutmix_alpha", augmentation.cutmix_alpha, 0, 1e3);
}

bool SameButNumbers(const OptimizerOptions& a, const OptimizerOptions& b) {
  // Momentum appears with an array of its own, so it may change but not come or go.
  return a.kind == b.kind && (a.momentum == 0) == (b.momentum == 0);
}

absl::Status ValidateLiveStrategy(const ResolvedStrategy& current, const ResolvedStrategy& next) {
  if (current.entry != next.entry) {
    return absl::InvalidArgumentError(absl::StrCat("strategies: cannot change from ",
                                                   current.entry->help.name, " to ",
                                                   next.entry->help.name, " on a live model"));
  }
  for (const ParameterHelp& help : current.entry->help.parameters) {
    if (help.live) continue;
    if (current.parameters.values().at(help.name) == next.parameters.values().at(help.name)) {
      continue;
    }
    return absl::InvalidArgumentError(
        absl::StrCat(current.entry->help.name, ".", help.name, ": cannot change on a live model"));
  }
  return absl::OkStatus();
}

// What the strategies of a list ask of each other and of the head.
absl::Status CheckComposition(const std::vector<ResolvedStrategy>& strategies, HeadKind head) {
  const StrategyEntry* network_owner = nullptr;
  const StrategyEntry* freezer = nullptr;
  for (const ResolvedStrategy& strategy : strategies) {
    if (strategy.entry->freezes_backbone) freezer = strategy.entry;
    if (strategy.entry->make_network == nullptr) continue;
    if (network_owner != nullptr) {
      return absl::InvalidArgumentError(absl::StrCat(
          "strategies: ", network_owner->help.name, " and ", strategy.entry->help.name,
          " each bring a network of their own, and a model has one"));
    }
    network_owner = strategy.entry;
  }
  for (size_t i = 0; i < strategies.size(); ++i) {
    const StrategyEntry& entry = *strategies[i].entry;
    const auto refused = [&](absl::string_view why) {
      return absl::InvalidArgumentError(
          absl::StrCat("strategies[", i, "]: ", entry.help.name, " ", why));
    };
    if (entry.alone && strategies.size() > 1) {
      return refused(absl::StrCat("takes the steps itself and cannot be listed beside others, got ",
                                  strategies.size(), " strategies"));
    }
    if (entry.plain_network && network_owner != nullptr) {
      return refused(absl::StrCat("needs a plain network, and ", network_owner->help.name,
                                  " brings one of its own"));
    }
    if (entry.plain_network && freezer != nullptr) {
      return refused(absl::StrCat("works on every layer, and ", freezer->help.name,
                                  " leaves those below the head as they are"));
    }
    if (entry.per_task_heads && head != HeadKind::kPerTask) {
      return refused("keeps a part of the network for each task and needs heads per task");
    }
  }
  return absl::OkStatus();
}

// What the strategies of a list leave to be augmented.
absl::Status CheckAugmented(const std::vector<ResolvedStrategy>& strategies,
                            const AugmentationOptions& augmentation) {
  for (const ResolvedStrategy& strategy : strategies) {
    const AugmentationSupport support = strategy.entry->augmentation;
    const std::string& name = strategy.entry->help.name;
    if (support == AugmentationSupport::kNone && augmentation.any()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "augmentation: ", name, " takes no gradient step on a row, so there is none to augment"));
    }
    if (support == AugmentationSupport::kUnmixed && augmentation.mixes()) {
      return absl::InvalidArgumentError(
          absl::StrCat(augmentation.mixup_alpha > 0 ? "augmentation.mixup_alpha: "
                                                    : "augmentation.cutmix_alpha: ",
                       name, " trains one row at a time, so there is none to mix it with"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::vector<ResolvedStrategy>> ResolveStrategies(const ModelOptions& options) {
  std::vector<StrategySpec> specs = options.strategies;
  if (specs.empty()) specs.push_back({"finetune", {}});
  std::vector<ResolvedStrategy> resolved;
  std::set<std::string> names;
  for (size_t i = 0; i < specs.size(); ++i) {
    const absl::StatusOr<const StrategyEntry*> entry = FindStrategy(specs[i].name);
    if (!entry.ok()) {
      return absl::InvalidArgumentError(
          absl::StrCat("strategies[", i, "]: ", entry.status().message()));
    }
    if (!names.insert(specs[i].name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("strategies[", i, "]: ", specs[i].name, " is listed twice"));
    }
    ENGRAM_ASSIGN_OR_RETURN(StrategyParameters parameters,
                            StrategyParameters::Resolve((*entry)->help, specs[i]));
    if ((*entry)->check != nullptr) ENGRAM_RETURN_IF_ERROR((*entry)->check(parameters, options));
    resolved.push_back({*entry, std::move(parameters)});
  }
  ENGRAM_RETURN_IF_ERROR(CheckComposition(resolved, options.head.kind));
  return resolved;
}

absl::Status ValidateOptions(const ModelOptions& options) {
  ENGRAM_RETURN_IF_ERROR(ValidateNetwork(options));
  ENGRAM_RETURN_IF_ERROR(ValidateHead(options.head));
  ENGRAM_RETURN_IF_ERROR(ValidateOptimizer(options.optimizer));
  ENGRAM_RETURN_IF_ERROR(ValidatePenaltySchedule(options.penalty_schedule));
  ENGRAM_RETURN_IF_ERROR(BelowOne("label_smoothing", options.label_smoothing));
  ENGRAM_RETURN_IF_ERROR(BelowOne("ema_decay", options.ema_decay));
  ENGRAM_RETURN_IF_ERROR(ValidateSenderShare(options.max_sender_share));
  ENGRAM_RETURN_IF_ERROR(
      InRange("batch_size", static_cast<double>(options.batch_size), 1, kBatchMax));
  ENGRAM_RETURN_IF_ERROR(
      InRange("strategies", static_cast<double>(options.strategies.size()), 0, kStrategiesMax));
  ENGRAM_RETURN_IF_ERROR(ValidateAugmentation(options.augmentation, options.feature_count));
  ENGRAM_ASSIGN_OR_RETURN(const auto resolved, ResolveStrategies(options));
  ENGRAM_RETURN_IF_ERROR(CheckAveraged(resolved, options.ema_decay));
  ENGRAM_RETURN_IF_ERROR(CheckUpdateNorm(resolved, options.max_update_norm));
  return CheckAugmented(resolved, options.augmentation);
}

absl::Status ValidateLiveChange(const ModelOptions& current, const ModelOptions& next) {
  ENGRAM_RETURN_IF_ERROR(ValidateOptions(next));
  const auto fixed = [](absl::string_view field) {
    return absl::InvalidArgumentError(absl::StrCat(field, ": cannot change on a live model"));
  };
  if (current.feature_count != next.feature_count) return fixed("feature_count");
  if (current.hidden != next.hidden) return fixed("hidden");
  if (current.head.kind != next.head.kind || current.head.head_classes != next.head.head_classes ||
      current.head.max_classes != next.head.max_classes) {
    return fixed("head");
  }
  if (current.seed != next.seed) return fixed("seed");
  if (current.label_smoothing != next.label_smoothing) return fixed("label_smoothing");
  if (current.ema_decay != next.ema_decay) return fixed("ema_decay");
  if (current.batch_size != next.batch_size) return fixed("batch_size");
  if (current.max_sender_share != next.max_sender_share) return fixed("max_sender_share");
  if (current.max_update_norm != next.max_update_norm) return fixed("max_update_norm");
  if (!SameButNumbers(current.optimizer, next.optimizer)) {
    return fixed("optimizer.kind, and whether there is momentum");
  }
  ENGRAM_ASSIGN_OR_RETURN(const auto before, ResolveStrategies(current));
  ENGRAM_ASSIGN_OR_RETURN(const auto after, ResolveStrategies(next));
  if (before.size() != after.size()) return fixed("strategies: their number");
  for (size_t i = 0; i < before.size(); ++i) {
    ENGRAM_RETURN_IF_ERROR(ValidateLiveStrategy(before[i], after[i]));
  }
  return absl::OkStatus();
}

bool InterleavedTasks(const ModelOptions& options) {
  const absl::StatusOr<std::vector<ResolvedStrategy>> resolved = ResolveStrategies(options);
  return resolved.ok() && std::all_of(resolved->begin(), resolved->end(), [](const auto& strategy) {
           return strategy.entry->help.traits.interleaved_tasks;
         });
}

}  // namespace engram::strategies
