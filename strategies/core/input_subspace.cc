#include "strategies/core/input_subspace.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/kernels.h"
#include "strategies/models/products.h"

namespace engram::strategies {
namespace {

// A direction that holds less than this share of the squared length is rounding.
constexpr double kShareMin = 1e-12;

// Up to this many rows our loops beat the BLAS, as in models/products.cc.
constexpr int64_t kThinRows = 16;

// Inputs that are mostly zero, as pixels and rectified activations are: it pays to pass over them.
bool MostlyZero(const float* values, int64_t count) {
  return 2 * std::count(values, values + count, 0.0f) > count;
}

}  // namespace

InputSubspace::InputSubspace(int64_t inputs, int64_t directions_max)
    : directions_max_(std::min(directions_max, inputs + 1)),
      weights_(at::empty({0, inputs}, at::kFloat)),
      offsets_(at::empty({0, 1}, at::kFloat)) {}

void InputSubspace::Extend(const at::Tensor& examples, double energy) {
  const at::Tensor rows =
      at::cat({examples, at::ones({examples.size(0), 1}, at::kFloat)}, 1).to(at::kDouble);
  if (!at::isfinite(rows).all().item<bool>()) return;
  const at::Tensor basis = at::cat({weights_, offsets_}, 1).to(at::kDouble);
  const at::Tensor outside = rows - at::mm(at::mm(rows, basis.t()), basis);
  const double total = rows.square().sum().item<double>();
  const double wanted = energy * total;
  double held = total - outside.square().sum().item<double>();
  if (held >= wanted) return;
  const auto [left, lengths, directions] = at::linalg_svd(outside, /*full_matrices=*/false);
  const double* length = lengths.data_ptr<double>();
  int64_t added = 0;
  for (; held < wanted && added < lengths.size(0) && rank() + added < directions_max_; ++added) {
    const double squared = length[added] * length[added];
    if (squared < kShareMin * total) break;
    held += squared;
  }
  const at::Tensor chosen = directions.narrow(0, 0, added).to(at::kFloat);
  weights_ = at::cat({weights_, chosen.narrow(1, 0, weights_.size(1))}, 0);
  offsets_ = at::cat({offsets_, chosen.narrow(1, weights_.size(1), 1)}, 0);
  by_input_.reset();
}

void InputSubspace::RemoveFrom(const at::Tensor& weight_gradient,
                               const at::Tensor& bias_gradient) const {
  const at::Tensor inside =
      at::mm(weight_gradient, weights_.t()) + at::mm(bias_gradient, offsets_.t());
  weight_gradient.addmm_(inside, weights_, 1, -1);
  bias_gradient.addmm_(inside, offsets_, 1, -1);
}

void InputSubspace::FindCoefficients(const float* input, int64_t rows) {
  const int64_t inputs = weights_.size(1);
  if (MostlyZero(input, rows * inputs)) {
    if (!by_input_.defined()) by_input_ = weights_.t().contiguous();
    ActiveKernels().thin_backward(input, by_input_.data_ptr<float>(), rows, inputs, rank(),
                                  by_row_.data_ptr<float>());
    coefficients_.copy_(by_row_.t());
    return;
  }
  const auto product = rows <= kThinRows ? ActiveKernels().thin_product : ForwardProduct;
  product(weights_.data_ptr<float>(), input, rank(), rows, inputs,
          coefficients_.data_ptr<float>());
}

void InputSubspace::RemoveFrom(LayerTrace* trace) {
  const int64_t rows = trace->input.size(0), inputs = weights_.size(1);
  const at::Tensor ones =
      trace->bias_input.defined() ? trace->bias_input : at::ones({rows, 1}, at::kFloat);
  if (!coefficients_.defined() || coefficients_.size(0) != rank() ||
      coefficients_.size(1) != rows) {
    coefficients_ = at::empty({rank(), rows}, at::kFloat);
    by_row_ = at::empty({rows, rank()}, at::kFloat);
    outside_ = at::empty({rows, inputs}, at::kFloat);
    outside_ones_ = at::empty({rows, 1}, at::kFloat);
  }
  FindCoefficients(trace->input.data_ptr<float>(), rows);
  coefficients_.addmm_(offsets_, ones.t());
  outside_.copy_(trace->input);
  RankUpdate update;
  update.weights = outside_.data_ptr<float>();
  update.input = weights_.data_ptr<float>();
  update.delta = coefficients_.data_ptr<float>();
  update.rows = rank();
  update.out = rows;
  update.in = inputs;
  update.rate = 1;
  if (rows <= kThinRows) {
    ActiveKernels().rank_update(update);
  } else {
    WeightProduct(update.delta, update.input, update.rows, update.out, update.in, update.decay,
                  update.rate, update.weights);
  }
  at::addmm_out(outside_ones_, ones, coefficients_.t(), offsets_, 1, -1);
  trace->input = outside_;
  trace->bias_input = outside_ones_;
}

void InputSubspace::SaveState(const std::string& name, StateWriter* writer) const {
  if (rank() == 0) return;
  writer->PutTensor(absl::StrCat(name, "/weights"), weights_);
  writer->PutTensor(absl::StrCat(name, "/offsets"), offsets_);
}

absl::Status InputSubspace::LoadState(const std::string& name, const StateReader& reader) {
  const int64_t inputs = weights_.size(1);
  weights_ = at::empty({0, inputs}, at::kFloat);
  offsets_ = at::empty({0, 1}, at::kFloat);
  if (!reader.Has(absl::StrCat(name, "/offsets"))) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(const at::Tensor saved, reader.GetTensor(absl::StrCat(name, "/offsets")));
  if (saved.dim() != 2 || saved.size(0) > directions_max_) {
    return absl::FailedPreconditionError(
        absl::StrCat(name, ": ", saved.dim() == 0 ? 0 : saved.size(0),
                     " directions saved, at most ", directions_max_, " expected"));
  }
  const at::Tensor weights = at::empty({saved.size(0), inputs}, at::kFloat);
  const at::Tensor offsets = at::empty({saved.size(0), 1}, at::kFloat);
  ENGRAM_RETURN_IF_ERROR(reader.GetTensor(absl::StrCat(name, "/weights"), weights));
  ENGRAM_RETURN_IF_ERROR(reader.GetTensor(absl::StrCat(name, "/offsets"), offsets));
  weights_ = weights;
  offsets_ = offsets;
  by_input_.reset();
  return absl::OkStatus();
}

}  // namespace engram::strategies
