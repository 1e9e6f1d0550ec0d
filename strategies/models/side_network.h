// A network that a strategy trains beside the model's: with an arena and an optimizer of its own,
// so that the model's parameters, penalties and snapshots know nothing of it.
//
// Threading: one thread. Ownership: owns its parts, which point at each other: neither copied nor
//   moved.
// Failure: LoadState as StateReader, into a freshly made network of the same shape.
// Bounds: parameters, gradient and two moments.
#pragma once

#include <memory>

#include "absl/status/status.h"
#include "strategies/core/generator.h"
#include "strategies/core/optimizer.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/state_archive.h"
#include "strategies/models/mlp.h"

namespace engram::strategies {

class SideNetwork {
 public:
  SideNetwork(const MlpOptions& shape, const OptimizerOptions& optimizer, Generator* generator);
  SideNetwork(const SideNetwork&) = delete;
  SideNetwork& operator=(const SideNetwork&) = delete;

  Network& network() { return *network_; }
  const Network& network() const { return *network_; }
  ParameterArena& arena() { return arena_; }
  const ParameterArena& arena() const { return arena_; }

  // One update from the traces of the last Backward.
  void Update() { optimizer_.Step(network_->traces(), {}); }
  void SetLearningRate(double learning_rate);

  void SaveState(StateWriter* writer) const;
  absl::Status LoadState(const StateReader& reader);

 private:
  ParameterArena arena_;
  std::unique_ptr<Network> network_;
  Optimizer optimizer_;
};

}  // namespace engram::strategies
