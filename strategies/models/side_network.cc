#include "strategies/models/side_network.h"

#include "storage/base/status_macros.h"
#include "strategies/core/arena_archive.h"

namespace engram::strategies {

SideNetwork::SideNetwork(const MlpOptions& shape, const OptimizerOptions& optimizer,
                         Generator* generator)
    : network_(MakeMlp(shape, &arena_, generator)), optimizer_(optimizer, &arena_) {}

void SideNetwork::SetLearningRate(double learning_rate) {
  OptimizerOptions next = optimizer_.options();
  next.learning_rate = learning_rate;
  optimizer_.Reconfigure(next);
}

void SideNetwork::SaveState(StateWriter* writer) const {
  SaveArena(arena_, writer);
  optimizer_.SaveState(writer);
}

absl::Status SideNetwork::LoadState(const StateReader& reader) {
  ENGRAM_RETURN_IF_ERROR(LoadArena(reader, &arena_));
  return optimizer_.LoadState(reader);
}

}  // namespace engram::strategies
