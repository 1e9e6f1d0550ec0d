#include "strategies/core/learner_state.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/weight_import.h"
#include "strategies/models/mlp.h"

namespace engram::strategies {
namespace {

std::unique_ptr<Network> MakeNetwork(const std::vector<ResolvedStrategy>& resolved,
                                     LearnerState* state) {
  const ModelOptions& options = state->options;
  for (const ResolvedStrategy& strategy : resolved) {
    if (strategy.entry->make_network == nullptr) continue;
    return strategy.entry->make_network(strategy.parameters, options, state->units.size(),
                                        &state->arena, &state->generator);
  }
  MlpOptions mlp;
  mlp.feature_count = options.feature_count;
  mlp.hidden = options.hidden;
  mlp.units = state->units.size();
  return MakeMlp(mlp, &state->arena, &state->generator);
}

absl::Status MakeStrategies(const std::vector<ResolvedStrategy>& resolved, LearnerState* state) {
  StrategyEnvironment environment;
  environment.feature_count = state->options.feature_count;
  environment.batch_size = state->options.batch_size;
  environment.seed = state->options.seed;
  environment.max_sender_share = state->options.max_sender_share;
  environment.arena = &state->arena;
  environment.network = state->network.get();
  environment.units = &state->units;
  bool first_memory = true;
  for (const ResolvedStrategy& strategy : resolved) {
    const uint32_t position = static_cast<uint32_t>(state->strategies.size());
    environment.memory = first_memory ? kReplayMemory : kConsolidationMemory + 1 + position;
    first_memory = first_memory && !strategy.entry->keeps_exemplars;
    ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<Strategy> made,
                            strategy.entry->make(strategy.parameters, environment));
    state->strategies.push_back(std::move(made));
  }
  return absl::OkStatus();
}

absl::Status CheckTakesWeights(const std::vector<ResolvedStrategy>& resolved,
                               PretrainedWeights::Scope scope) {
  // Below the head nothing is drawn anew while it is frozen.
  const bool trunk_stays =
      scope == PretrainedWeights::Scope::kTrunk &&
      std::any_of(resolved.begin(), resolved.end(),
                  [](const auto& strategy) { return strategy.entry->freezes_backbone; });
  for (const ResolvedStrategy& strategy : resolved) {
    const char* why = nullptr;
    if (strategy.entry->make_network != nullptr) why = "has a network of its own";
    if (strategy.entry->draws_anew && !trunk_stays) why = "draws new weights before it trains";
    if (why == nullptr) continue;
    return absl::InvalidArgumentError(absl::StrCat("weights: strategy ", strategy.entry->help.name,
                                                   " ", why,
                                                   "; create the model without pretrained ones"));
  }
  return absl::OkStatus();
}

// A head of pretrained outputs has them from the start. They are added as a restored head's are,
// so that both have one layout.
absl::Status TakeWeights(const PretrainedWeights& weights, LearnerState* state) {
  const HeadKind kind = state->options.head.kind;
  if (weights.scope == PretrainedWeights::Scope::kStrict && kind != HeadKind::kFixed) {
    if (kind == HeadKind::kPerTask) {
      return absl::InvalidArgumentError(
          "weights: a file holds one head, the model has one a task; take scope TRUNK");
    }
    if (weights.labels.empty()) {
      return absl::InvalidArgumentError(
          "weights: scope STRICT needs the model's labels, which say what class each output of "
          "the head is; give them, or take scope TRUNK");
    }
    std::vector<int32_t> classes(weights.labels.size());
    std::iota(classes.begin(), classes.end(), 0);
    int64_t added = 0;
    ENGRAM_RETURN_IF_ERROR(
        state->units.Admit(classes, std::vector<int32_t>(classes.size(), 0), &added));
    state->network->AddUnits(added, &state->generator);
  }
  return ImportWeights(weights, *state->network, &state->arena);
}

absl::Status MakeConsolidationMemory(LearnerState* state) {
  int64_t wanted = 0;
  for (const auto& strategy : state->strategies) {
    wanted = std::max(wanted, strategy->ConsolidationExamples());
  }
  if (wanted == 0) return absl::OkStatus();
  ExemplarMemoryOptions options;
  options.capacity = wanted;
  options.feature_count = state->options.feature_count;
  options.seed = state->options.seed;
  options.memory = kConsolidationMemory;
  options.max_sender_share = state->options.max_sender_share;
  ENGRAM_ASSIGN_OR_RETURN(state->consolidation, ExemplarMemory::Create(options));
  return absl::OkStatus();
}

}  // namespace

LearnerState::LearnerState(const ModelOptions& model_options)
    : options(model_options), generator(model_options.seed), units(model_options.head) {}

absl::StatusOr<std::unique_ptr<LearnerState>> LearnerState::Make(
    const ModelOptions& options, const PretrainedWeights* weights) {
  auto state = std::make_unique<LearnerState>(options);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<ResolvedStrategy> resolved, ResolveStrategies(options));
  state->network = MakeNetwork(resolved, state.get());
  if (weights != nullptr) {
    ENGRAM_RETURN_IF_ERROR(CheckTakesWeights(resolved, weights->scope));
    ENGRAM_RETURN_IF_ERROR(TakeWeights(*weights, state.get()));
  }
  state->optimizer = std::make_unique<Optimizer>(options.optimizer, &state->arena);
  if (options.ema_decay > 0) {
    state->average = state->arena.AddCompanion("average", ParameterArena::Persistence::kSaved);
    state->RestartAverage();
  }
  ENGRAM_RETURN_IF_ERROR(MakeStrategies(resolved, state.get()));
  ENGRAM_RETURN_IF_ERROR(MakeConsolidationMemory(state.get()));
  state->context =
      std::make_unique<StepContext>(&state->options, &state->arena, state->network.get(),
                                    state->optimizer.get(), &state->units, &state->generator);
  int64_t capacity = options.batch_size;
  for (const auto& strategy : state->strategies) {
    capacity += strategy->ExtraRows(options.batch_size);
  }
  state->batch = std::make_unique<TrainingBatch>(options.feature_count, capacity);
  return state;
}

const at::Tensor& LearnerState::served() const {
  return average.has_value() ? arena.Companion(*average) : arena.flat();
}

void LearnerState::AverageNewUnits(int64_t old_units) {
  if (!average.has_value()) return;
  const LayerTrace& head = network->traces().back();
  const int64_t added = network->units() - old_units;
  for (const ParameterId id : {head.weight, head.bias}) {
    arena.View(arena.Companion(*average), id)
        .narrow(0, old_units, added)
        .copy_(arena.View(id).narrow(0, old_units, added));
  }
}

void LearnerState::AverageStep() {
  if (average.has_value()) arena.Companion(*average).lerp_(arena.flat(), 1 - options.ema_decay);
}

void LearnerState::RestartAverage() {
  if (average.has_value()) arena.Companion(*average).copy_(arena.flat());
}

}  // namespace engram::strategies
