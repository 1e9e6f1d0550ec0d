#include "strategies/core/unit_rows.h"

#include <numeric>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"

namespace engram::strategies {
namespace {

at::Tensor Borrow(const std::vector<double>& values, at::IntArrayRef shape) {
  return at::from_blob(const_cast<double*>(values.data()), shape, at::kDouble);
}

}  // namespace

void UnitRows::MakeRoom(int64_t count) {
  if (count <= units()) return;
  weights_.resize(count);
  rows_.resize(count * width_);
}

void UnitRows::Add(const UnitRows& other) {
  MakeRoom(other.units());
  for (size_t i = 0; i < other.weights_.size(); ++i) weights_[i] += other.weights_[i];
  for (size_t i = 0; i < other.rows_.size(); ++i) rows_[i] += other.rows_[i];
}

double UnitRows::total_weight() const {
  return std::accumulate(weights_.begin(), weights_.end(), 0.0);
}

std::vector<bool> UnitRows::has_weight() const {
  std::vector<bool> result;
  for (const double weight : weights_) result.push_back(weight > 0);
  return result;
}

at::Tensor UnitRows::rows() const { return Borrow(rows_, {units(), width_}); }

void UnitRows::SaveState(StateWriter* writer) const {
  writer->PutTensor("unit_rows", rows());
  writer->PutTensor("unit_weights", Borrow(weights_, {units()}));
}

absl::Status UnitRows::LoadState(const StateReader& reader, int64_t units_max) {
  ENGRAM_ASSIGN_OR_RETURN(const at::Tensor weights, reader.GetTensor("unit_weights"));
  if (weights.scalar_type() != at::kDouble || weights.numel() > units_max) {
    return absl::DataLossError(absl::StrCat("unit_weights: expected at most ", units_max,
                                            " float64 values, found ", weights.numel()));
  }
  const at::Tensor rows = at::empty({weights.numel(), width_}, at::kDouble);
  ENGRAM_RETURN_IF_ERROR(reader.GetTensor("unit_rows", rows));
  if (!at::isfinite(weights).all().item<bool>() || !at::isfinite(rows).all().item<bool>()) {
    return absl::DataLossError("unit_rows: a value is not finite");
  }
  weights_.assign(weights.data_ptr<double>(), weights.data_ptr<double>() + weights.numel());
  rows_.assign(rows.data_ptr<double>(), rows.data_ptr<double>() + rows.numel());
  return absl::OkStatus();
}

}  // namespace engram::strategies
