#include "strategies/core/update_norm.h"

#include <cmath>

#include "absl/strings/str_cat.h"

namespace engram::strategies {
namespace {

// Sums that do not wait for each other.
constexpr int64_t kNormLanes = 8;

}  // namespace

void UpdateNorm::Keep(const ParameterArena& arena, const Optimizer& optimizer,
                      absl::Span<UpdateObserver* const> observers) {
  used_ = 0;
  Add(arena.flat());
  for (const at::Tensor& moment : optimizer.moments()) Add(moment);
  for (const UpdateObserver* observer : observers) {
    for (const at::Tensor& written : observer->Written()) Add(written);
  }
  steps_ = optimizer.steps();
}

void UpdateNorm::Add(const at::Tensor& live) {
  if (used_ == copies_.size()) copies_.emplace_back();
  Copy& copy = copies_[used_++];
  copy.live = live;
  if (!copy.kept.defined() || copy.kept.numel() != live.numel()) copy.kept = at::empty_like(live);
  copy.kept.copy_(live);
}

double UpdateNorm::Measure(const ParameterArena& arena) const {
  const float* before = copies_[0].kept.data_ptr<float>();
  const float* after = copies_[0].live.data_ptr<float>();
  double sums[kNormLanes] = {};
  const auto add = [&](int64_t i, int64_t lane) {
    const double moved = static_cast<double>(after[i]) - before[i];
    sums[lane] += moved * moved;
  };
  for (const ParameterArena::TrainedRange& range : arena.trained_ranges()) {
    int64_t i = range.begin;
    for (; i + kNormLanes <= range.end; i += kNormLanes) {
      for (int64_t lane = 0; lane < kNormLanes; ++lane) add(i + lane, lane);
    }
    for (; i < range.end; ++i) add(i, 0);
  }
  double sum = 0;
  for (const double lane : sums) sum += lane;
  return std::sqrt(sum);
}

void UpdateNorm::PutBack(Optimizer* optimizer) const {
  for (size_t i = 0; i < used_; ++i) copies_[i].live.copy_(copies_[i].kept);
  optimizer->set_steps(steps_);
}

absl::optional<std::string> BeyondUpdateNorm(double norm, double max_update_norm) {
  if (norm <= max_update_norm) return absl::nullopt;
  if (!std::isfinite(norm)) {
    return absl::StrCat("the update's norm is not finite (max_update_norm ", max_update_norm, ")");
  }
  return absl::StrCat("the update's norm ", norm, " exceeds max_update_norm ", max_update_norm);
}

}  // namespace engram::strategies
