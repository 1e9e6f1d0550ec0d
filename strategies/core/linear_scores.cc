#include "strategies/core/linear_scores.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/models/products.h"

namespace engram::strategies {
namespace {

// How far a unit without an example stays behind the others: its probability is 2e-9.
constexpr float kBehind = 20;

}  // namespace

LinearScores::LinearScores(const at::Tensor& weights, const at::Tensor& bias,
                           std::vector<bool> known)
    : weights_(weights.to(at::kFloat).contiguous()),
      bias_(bias.to(at::kFloat).contiguous()),
      known_(std::move(known)) {}

void LinearScores::Run(const float* inputs, int64_t rows, int64_t units, float* scores) const {
  const int64_t solved = weights_.size(0);
  std::vector<float> products(static_cast<size_t>(rows * solved));
  if (solved > 0) {
    ForwardProduct(inputs, weights_.data_ptr<float>(), rows, solved, weights_.size(1),
                   products.data());
  }
  const float* bias = bias_.data_ptr<float>();
  const float* product = products.data();
  for (int64_t row = 0; row < rows; ++row, product += solved, scores += units) {
    float lowest = std::numeric_limits<float>::max();
    for (int64_t unit = 0; unit < solved; ++unit) {
      if (!known_[unit]) continue;
      scores[unit] = product[unit] + bias[unit];
      lowest = std::min(lowest, scores[unit]);
    }
    const float unknown = lowest == std::numeric_limits<float>::max() ? 0.0f : lowest - kBehind;
    for (int64_t unit = 0; unit < units; ++unit) {
      if (unit >= solved || !known_[unit]) scores[unit] = unknown;
    }
  }
}

NetworkProgram::Value LinearScores::Describe(NetworkProgram::Value inputs,
                                             const std::vector<int64_t>& units,
                                             NetworkProgram* program) const {
  std::vector<int64_t> known, columns(known_.size(), -1);
  for (size_t unit = 0; unit < known_.size(); ++unit) {
    if (!known_[unit]) continue;
    columns[unit] = static_cast<int64_t>(known.size());
    known.push_back(static_cast<int64_t>(unit));
  }
  if (known.empty()) {
    const int64_t count = static_cast<int64_t>(units.size());
    return program->Linear(inputs, at::zeros({count, weights_.size(1)}), at::Tensor());
  }
  const int64_t behind = static_cast<int64_t>(known.size());
  std::vector<int64_t> wanted;
  for (const int64_t unit : units) {
    const bool is_known = unit < static_cast<int64_t>(columns.size()) && columns[unit] >= 0;
    wanted.push_back(is_known ? columns[unit] : behind);
  }
  const NetworkProgram::Value scores =
      program->Linear(inputs, PickRows(weights_, known), PickRows(bias_, known));
  return program->Pick(program->Join({scores, program->Behind(scores, kBehind)}), wanted);
}

void LinearScores::Save(StateWriter* writer) const {
  writer->PutTensor("solution", weights_);
  writer->PutTensor("solution_bias", bias_);
  writer->PutInts("solution_known", std::vector<int64_t>(known_.begin(), known_.end()));
}

absl::StatusOr<std::shared_ptr<const LinearScores>> LinearScores::Load(const StateReader& reader,
                                                                       int64_t width,
                                                                       int64_t units) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> known, reader.GetInts("solution_known"));
  const int64_t solved = static_cast<int64_t>(known.size());
  if (solved > units) {
    return absl::DataLossError(
        absl::StrCat("solution: of ", solved, " units, there are ", units));
  }
  const at::Tensor weights = at::empty({solved, width}, at::kFloat);
  const at::Tensor bias = at::empty({solved}, at::kFloat);
  ENGRAM_RETURN_IF_ERROR(reader.GetTensor("solution", weights));
  ENGRAM_RETURN_IF_ERROR(reader.GetTensor("solution_bias", bias));
  return std::make_shared<const LinearScores>(weights, bias,
                                              std::vector<bool>(known.begin(), known.end()));
}

}  // namespace engram::strategies
