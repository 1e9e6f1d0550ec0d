// A frozen copy of the network's parameters: the teacher of distillation, the old function that a
// strategy compares with. It keeps the place of every parameter, so it stays valid while the head
// grows: units that came later have no output in it.
//
// Threading: one thread. Ownership: a saved companion of the arena.
// Failure: LoadState as StateReader; DATA_LOSS on a unit count below 0.
// Bounds: P floats, and the outputs of the most rows ever passed.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/state_archive.h"
#include "strategies/models/network.h"

namespace engram::strategies {

class FrozenCopy {
 public:
  // Adds the companion NAME.frozen.
  FrozenCopy(ParameterArena* arena, const std::string& name);

  // Takes over the present parameters.
  void Take(const Network& network);
  bool taken() const { return units_ > 0; }
  // Outputs that existed when it was taken: the first columns of what Forward returns.
  int64_t units() const { return units_; }

  // [rows, network.units()] logits of [rows, d] features; overwritten by the next call.
  const at::Tensor& Forward(const Network& network, const at::Tensor& features);

  void SaveState(StateWriter* writer) const;
  absl::Status LoadState(const StateReader& reader);

 private:
  ParameterArena* arena_;
  CompanionId parameters_;
  int64_t units_ = 0;
  std::unique_ptr<const ForwardPass> pass_;
  uint64_t bound_generation_ = 0;
  int64_t bound_units_ = 0;
  ForwardScratch scratch_;
  at::Tensor logits_;
};

}  // namespace engram::strategies
