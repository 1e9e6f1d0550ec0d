#include "strategies/models/initialise.h"

#include <cmath>

namespace engram::strategies {

void InitialiseRows(ParameterArena* arena, ParameterId id, int64_t first, int64_t fan_in,
                    Generator* generator) {
  const ParameterArena::Slot& slot = arena->slot(id);
  float* values = arena->flat().data_ptr<float>() + slot.offset;
  const float bound = 1.0f / std::sqrt(static_cast<float>(fan_in));
  for (int64_t i = first * slot.columns; i < slot.count(); ++i) {
    values[i] = (2 * generator->Uniform() - 1) * bound;
  }
}

}  // namespace engram::strategies
