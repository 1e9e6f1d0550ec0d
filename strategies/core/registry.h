// The visible table of strategies. Adding one = a file in builtin/ that defines a StrategyEntry
// function, and one line in registry.cc.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "strategies/api/options.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/parameter_help.h"
#include "strategies/core/parameters.h"
#include "strategies/core/strategy.h"

namespace engram::strategies {

// What a strategy is made with. The arena is allocated; the head may still have no unit.
struct StrategyEnvironment {
  int64_t feature_count = 0;
  int64_t batch_size = 0;
  uint64_t seed = 0;  // the model's; for keys that are hashes, not for a generator of its own
  // MemberKey::memory of the exemplars it keeps, if any.
  uint32_t memory = 0;
  double max_sender_share = 1;  // of the capacity of each memory
  ParameterArena* arena = nullptr;
  // The model's: what the entry's make_network returned, or the MLP of the options.
  Network* network = nullptr;
  UnitMap* units = nullptr;
};

// What a model with the strategy may do to the rows that it trains.
enum class AugmentationSupport {
  kAll,
  kUnmixed,  // rows are trained one by one: there is no other to mix with
  kNone,     // rows are not trained by gradient steps, which a view would enter
};

struct StrategyEntry {
  StrategyHelp help;
  // What parameters ask of the model beyond their ranges; INVALID_ARGUMENT naming the field.
  absl::Status (*check)(const StrategyParameters& parameters,
                        const ModelOptions& options) = nullptr;
  // It has Members; the first such strategy of a model gets memory 0.
  bool keeps_exemplars = false;
  // It keeps a part of the network for each task, which only a head a task can tell apart: a model
  // with another head is refused.
  bool per_task_heads = false;
  // It reads the layers of a plain network: no strategy beside it may bring a network of its own,
  // or freeze those below the head.
  bool plain_network = false;
  bool freezes_backbone = false;
  // It takes steps of its own in place of the plain one, which hooks of others are not written for:
  // no other strategy may be listed beside it.
  bool alone = false;
  AugmentationSupport augmentation = AugmentationSupport::kAll;
  // It learns by other means than updates of the model's parameters: max_update_norm has nothing to
  // measure, and is refused.
  bool own_update = false;
  // It draws the network anew before it trains: pretrained weights would be lost, and are refused,
  // except for a trunk that a strategy beside it freezes.
  bool draws_anew = false;
  // RESOURCE_EXHAUSTED when what the parameters ask for cannot be held.
  absl::StatusOr<std::unique_ptr<Strategy>> (*make)(
      const StrategyParameters& parameters, const StrategyEnvironment& environment) = nullptr;
  // For a strategy with a network of its own (columns, paths); at most one a model. Null: the MLP
  // of the options. It adds its parameters to `arena` and allocates it.
  std::unique_ptr<Network> (*make_network)(const StrategyParameters& parameters,
                                           const ModelOptions& options, int64_t units,
                                           ParameterArena* arena, Generator* generator) = nullptr;
  // Small enough for the contract suite's tiny streams.
  absl::btree_map<std::string, ParameterValue> test_parameters;
};

// In the order of the table.
const std::vector<StrategyEntry>& StrategyTable();

// NOT_FOUND naming the known ones.
absl::StatusOr<const StrategyEntry*> FindStrategy(absl::string_view name);

}  // namespace engram::strategies
