// What a learner is made of: the torch-free mirror of engram.v1.ModelSpec.
//
// Failure: ValidateOptions answers INVALID_ARGUMENT naming the field, the limit and the value.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/variant.h"

namespace engram::strategies {

// How outputs relate to classes and tasks.
enum class HeadKind {
  kGrowing,  // one head; a class never seen before adds an output (class- or domain-incremental)
  kFixed,    // one head with `head_classes` outputs from the start
  kPerTask,  // one head a task; loss and prediction are masked to the task's own outputs
};

struct HeadOptions {
  HeadKind kind = HeadKind::kGrowing;
  int64_t head_classes = 0;     // kFixed only
  int64_t max_classes = 10000;  // kGrowing and kPerTask: limit over the whole model
};

enum class OptimizerKind { kSgd, kAdam, kAdamW };

enum class ScheduleKind { kConstant, kStep, kCosine, kPlateau };

// The learning rate over time (core/learning_rate.h).
struct ScheduleOptions {
  ScheduleKind kind = ScheduleKind::kConstant;
  int64_t period_steps = 1000;  // kStep, kCosine, kPlateau
  double decay = 0.5;           // kStep, kPlateau: factor a period
  double floor = 0;             // least factor
  int64_t warm_up_steps = 0;
  bool restart_at_boundary = false;
};

enum class PenaltyScheduleKind {
  kConstant,
  kTasks,
  kTaskShare,
  kClassShare,
  kStepDecay,
  kTaskDecay,
};

// The strength of what holds a model to its past, over time (core/penalty_schedule.h).
struct PenaltyScheduleOptions {
  PenaltyScheduleKind kind = PenaltyScheduleKind::kConstant;
  int64_t period_steps = 1000;  // kStepDecay
  double decay = 0.5;           // kStepDecay: factor a period; kTaskDecay: a task
  double floor = 0;             // least factor
  int64_t warm_up_steps = 0;    // after each boundary
};

struct OptimizerOptions {
  OptimizerKind kind = OptimizerKind::kSgd;
  double learning_rate = 0.05;
  double momentum = 0;      // kSgd
  double weight_decay = 0;  // kSgd, kAdam: added to the gradient; kAdamW: decoupled
  double beta1 = 0.9;       // kAdam, kAdamW
  double beta2 = 0.999;
  double epsilon = 1e-8;
  ScheduleOptions schedule;
  double clip_norm = 0;  // longest gradient, Euclidean over all parameters; 0 = as long as it is
};

// Random changes to the rows of a step, drawn anew each time a row is trained: after the stream and
// the memory gave it, so that what is kept is the example as it came (core/augmentation.h). Where
// pixels matter a row is `channels` planes of height x width.
struct AugmentationOptions {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 1;
  bool flip_horizontal = false;  // half of the rows are mirrored left to right
  bool flip_vertical = false;    // the same, top to bottom
  int64_t crop_padding = 0;      // padded by so many zero pixels and cropped back
  double rotate_degrees = 0;     // turned by up to so much either way
  double scale = 0;              // made larger or smaller by up to this share
  double noise = 0;              // standard deviation of what is added to each value
  double mixup_alpha = 0;        // above 0: rows and labels are mixed, share ~ Beta(alpha, alpha)
  double cutmix_alpha = 0;       // above 0: a box of another row, its area ~ Beta(alpha, alpha)

  bool mixes() const { return mixup_alpha > 0 || cutmix_alpha > 0; }
  bool turns() const { return rotate_degrees > 0 || scale > 0; }
  // What needs height, width and channels.
  bool needs_image() const {
    return flip_horizontal || flip_vertical || crop_padding > 0 || turns() || cutmix_alpha > 0;
  }
  bool any() const { return needs_image() || mixes() || noise > 0; }
};

using ParameterValue = absl::variant<bool, int64_t, double, std::string>;

// One strategy of a model's list, by its registry name. Parameters not named keep their defaults.
struct StrategySpec {
  std::string name;
  absl::btree_map<std::string, ParameterValue> parameters;
};

struct ModelOptions {
  int64_t feature_count = 0;
  std::vector<int64_t> hidden = {256, 256};  // MLP, ReLU between layers; may be empty (linear)
  HeadOptions head;
  OptimizerOptions optimizer;
  // Outermost first: {experience_replay, ewc} draws exemplars, then takes a penalised step.
  // Empty means {finetune}.
  std::vector<StrategySpec> strategies;
  // Share of each target that is spread evenly over the classes the row sees, in [0, 1).
  double label_smoothing = 0;
  // Above 0, an exponential moving average of the parameters is served: decay a step, in [0, 1).
  double ema_decay = 0;
  AugmentationOptions augmentation;
  PenaltyScheduleOptions penalty_schedule;
  uint64_t seed = 0;
  int64_t batch_size = 10;  // most stream rows in one Train call
  // Most of a memory's capacity that examples of one sender may have, in (0, 1]; 1 = no cap.
  double max_sender_share = 1;
  // Above 0: an update that would move the parameters further, Euclidean over all that are trained,
  // is not made; in (0, 1e9].
  double max_update_norm = 0;
};

enum class ParameterKind { kBool, kInteger, kNumber, kChoice };

// A strategy's parameter: enough to validate a spec, explain it, and match it to its proto field.
struct ParameterHelp {
  std::string name;  // the field name in engram/v1/strategy.proto
  ParameterKind kind = ParameterKind::kNumber;
  ParameterValue default_value;
  double min = 0;                    // kInteger, kNumber: inclusive
  double max = 0;
  std::vector<std::string> choices;  // kChoice
  bool live = false;                 // UpdateModel may change it on a running model
  std::string help;
};

struct StrategyTraits {
  // TRAIN examples may name a task other than the current one.
  bool interleaved_tasks = false;
  // The strategy finds the task of a prediction by itself where heads are per task.
  bool infers_task = false;
};

// What `engram strategy list` and `explain` show.
struct StrategyHelp {
  std::string name;
  std::string family;  // baseline | replay | regularisation | ...
  std::string paper;
  std::string idea;    // three lines at most
  std::string memory;  // cost beside the model, P = parameters, M = exemplars
  std::string time;    // cost beside finetune's step
  std::string when;    // when to use it
  StrategyTraits traits;
  std::vector<ParameterHelp> parameters;
};

// The registry's visible table, in its order. Static storage.
const std::vector<StrategyHelp>& ListStrategies();

absl::Status ValidateOptions(const ModelOptions& options);

// INVALID_ARGUMENT when `next` differs from `current` in anything but the optimizer's numbers, the
// augmentation, the penalty schedule and live strategy parameters.
absl::Status ValidateLiveChange(const ModelOptions& current, const ModelOptions& next);

// True only if every strategy of the list allows it.
bool InterleavedTasks(const ModelOptions& options);

}  // namespace engram::strategies
