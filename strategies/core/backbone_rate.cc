#include "strategies/core/backbone_rate.h"

#include <algorithm>

namespace engram::strategies {

const std::vector<std::pair<int64_t, int64_t>>& BackboneRate::Ranges() {
  if (found_ && generation_ == arena_->generation()) return ranges_;
  const LayerTrace& head = network_->traces().back();
  ranges_.clear();
  for (size_t i = 0; i < arena_->slots().size(); ++i) {
    const ParameterId id = static_cast<ParameterId>(i);
    if (id == head.weight || id == head.bias) continue;
    const ParameterArena::Slot& slot = arena_->slot(id);
    ranges_.emplace_back(slot.offset, slot.offset + slot.count());
  }
  generation_ = arena_->generation();
  found_ = true;
  return ranges_;
}

void BackboneRate::BeforeUpdate(int64_t begin, int64_t count) {
  const float* values = arena_->flat().data_ptr<float>() + begin;
  before_.assign(values, values + count);
}

void BackboneRate::AfterUpdate(int64_t begin, int64_t count, const float* /*gradient*/) {
  float* values = arena_->flat().data_ptr<float>();
  const float* before = before_.data() - begin;
  for (const auto& [first, last] : Ranges()) {
    const int64_t end = std::min(last, begin + count);
    for (int64_t i = std::max(first, begin); i < end; ++i) {
      values[i] = before[i] + factor_ * (values[i] - before[i]);
    }
  }
}

}  // namespace engram::strategies
