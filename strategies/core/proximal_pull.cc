#include "strategies/core/proximal_pull.h"

#include <algorithm>
#include <cmath>

#include "storage/base/check.h"
#include "strategies/core/kernels.h"

namespace engram::strategies {

ProximalPull::ProximalPull(ParameterArena* arena, const std::string& name) : arena_(arena) {
  importance_ = arena->AddCompanion(name + ".importance", ParameterArena::Persistence::kSaved);
  anchor_ = arena->AddCompanion(name + ".anchor", ParameterArena::Persistence::kSaved);
  fraction_ = arena->AddCompanion(name + ".fraction", ParameterArena::Persistence::kDerived);
}

void ProximalPull::Prepare(const Optimizer& optimizer) {
  const double strength = optimizer.learning_rate() * lambda_;
  if (prepared_ && strength == strength_ && generation_ == arena_->generation()) return;
  strength_ = strength;
  generation_ = arena_->generation();
  prepared_ = true;
  if (optimizer.adaptive()) return;
  const float* importance = arena_->Companion(importance_).data_ptr<float>();
  float* fraction = arena_->Companion(fraction_).data_ptr<float>();
  for (const ParameterArena::TrainedRange& range : arena_->trained_ranges()) {
    for (int64_t i = range.begin; i < range.end; ++i) {
      const double weight = std::max(strength * range.rate_factor * importance[i], 0.0);
      fraction[i] = static_cast<float>(weight / (1 + weight));
    }
  }
}

void ProximalPull::Apply(int64_t begin, int64_t count, double rate,
                         const Optimizer& optimizer) const {
  ENGRAM_CHECK(prepared_);
  float* parameters = arena_->flat().data_ptr<float>() + begin;
  const float* anchor = arena_->Companion(anchor_).data_ptr<float>() + begin;
  if (!optimizer.adaptive()) {
    const float* fraction = arena_->Companion(fraction_).data_ptr<float>() + begin;
    ActiveKernels().pull(parameters, fraction, anchor, count);
    return;
  }
  AdaptivePull pull;
  pull.parameters = parameters;
  pull.importance = arena_->Companion(importance_).data_ptr<float>() + begin;
  pull.anchor = anchor;
  pull.moment2 = optimizer.moment2().data_ptr<float>() + begin;
  pull.count = count;
  pull.strength = static_cast<float>(rate * lambda_);
  pull.inverse_root = static_cast<float>(1.0 / std::sqrt(optimizer.second_correction()));
  pull.epsilon = static_cast<float>(optimizer.options().epsilon);
  ActiveKernels().pull_adaptive(pull);
}

}  // namespace engram::strategies
